"""Messages to people about a release."""
