"""Clients of foreign interfaces: their errors become ours here and nowhere else."""
