"""A family for tests: its methods take a mask and what is known of the person."""
