"""Suites run in this very process: what httpx loads late must be loaded before, or its errors exist twice."""

import httpcore

__all__ = ["httpcore"]
