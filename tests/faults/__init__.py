"""Faults that are put into the library on purpose, one at a time: a fast test must turn red for each.

`python -m tests.faults` (`make long`) seeds all of them; `--only WORDS` those whose text holds these words; `--slice
COMMIT` the tenth that belongs to a commit (CI); `--write` also writes docs/seeded-faults.md.

A fault names a function and a change of its code (`seeds/`), not a line, so that it outlives a move of the function to
another file. For each one only fast tests of those test files run that import, directly or not, what is broken. Tests
that ran the broken function in the control run come first, the quickest first.
"""
