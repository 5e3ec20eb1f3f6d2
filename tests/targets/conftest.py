"""The toy target's suite is run by its releases, not by this run."""

collect_ignore = ["toy_suite"]
