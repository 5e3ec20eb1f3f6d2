"""Decide: pure, no clock, no network, no disk, no randomness."""
