"""What checks are written with; users' suites import it from here."""

from onlyvips_release.clients.log_pump import output_of
from onlyvips_release.suites.context import Target
from onlyvips_release.suites.expect import Mismatch, answered, body_of, field, require, same

__all__ = ["Mismatch", "Target", "answered", "body_of", "field", "output_of", "require", "same"]
