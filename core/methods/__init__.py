"""Restoration methods, one family a file."""
