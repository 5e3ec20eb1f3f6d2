"""The parts that plans in Python may give to a service: how it is kept."""

from onlyvips_release.targets.embedded_plan import External, Process

__all__ = ["External", "Process"]
