"""What people see of a release: lines on the terminal, a folder per release, a list of all."""
