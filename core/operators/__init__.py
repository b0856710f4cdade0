"""Forward models y = A x with exact adjoints: they simulate, give methods their data term, and check results."""
