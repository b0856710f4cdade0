"""Harmonised volumes: each step on an image, fitted on scans of several sites and applied to the next month's as it was."""
