"""The checks of `record` need a release."""

collect_ignore = ["checks"]
