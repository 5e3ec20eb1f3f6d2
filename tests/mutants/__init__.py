"""Random small changes of the library's code, each of which a fast test should notice.

`python -m tests.mutants --seed COMMIT --count 200` (`make long`) changes one place at a time, chosen by the seed among
all places that the fast tests run, in core, runner, guardian, state and traffic; prints what survived, with its diff,
and the share that was killed. Exit 1 below 90 %. `--write` also writes docs/mutants.md.
"""
