"""Restoration of a scan, in scan mode and in tile mode."""
