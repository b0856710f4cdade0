"""A family for tests: its method tells a map and a figure beside its image."""
