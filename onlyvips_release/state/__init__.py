"""What is kept on disk between two commands, and who may write it."""
