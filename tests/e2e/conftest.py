"""The quick suites are run by releases, not by this run."""

collect_ignore = ["quick"]
