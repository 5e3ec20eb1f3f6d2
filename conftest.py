"""`pytest smoke_tests` works from a clone, installed or not."""

pytest_plugins = ["onlyvips_release.pytest_plugin", "pytester"]
