"""Runs suites as gates, and is the pytest plugin that suites use."""
