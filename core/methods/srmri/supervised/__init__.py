"""Networks that learn from pairs of reduced and sharp slices."""
