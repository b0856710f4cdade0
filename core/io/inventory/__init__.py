"""What lies below an input or in a folder, and the account of every file."""
