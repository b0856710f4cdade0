"""Programs of others as methods: each takes a scan as NIfTI and writes one; a small YAML file says how it is called."""
