"""What is observed: counts from the router, pinned probes."""
