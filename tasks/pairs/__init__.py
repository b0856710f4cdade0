"""Pairs of slices from two scans of each person."""
