"""Where compute and services come from."""
