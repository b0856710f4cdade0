"""Processes: what guards, signals and numbers them."""
