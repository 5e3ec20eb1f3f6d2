"""The pytest plugin, under the one name by which pytest, conftests and `-p` know it."""

pytest_plugins = ["onlyvips_release.suites.plugin"]
