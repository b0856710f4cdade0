"""How a score model restores scans: few levels on volumes, and the paper's samplers on slices."""
