"""Restoration of slices by score models that were trained on sharp ones alone (SRMRI), and what it is compared with."""
