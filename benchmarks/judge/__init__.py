"""The acceptance table of the judge, simulated anew, with other tools' rules beside it.

    rows (data) -> runs (one seed: a world is drawn, the judge folds it, peers too) -> table (must, seen, pass)

A run's randomness comes from its row, case and seed alone.
"""
