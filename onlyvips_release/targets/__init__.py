"""Where releases can run: one module per target."""
