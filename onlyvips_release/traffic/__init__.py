"""Shifting users' traffic: one file per kind of router."""
