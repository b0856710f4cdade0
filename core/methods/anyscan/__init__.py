"""One network for scans of any contrast and any thick slices."""
