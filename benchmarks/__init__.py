"""What is measured, never in a timed unit test: `python -m benchmarks` runs all, `python -m benchmarks.NAME` one."""
