"""Networks that no library has, and how one is built by name."""
