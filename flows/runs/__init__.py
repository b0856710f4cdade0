"""What the flows share of a run: its name, its start, its progress, and where a user's own things lie."""
