"""Harmonised tables: features a scan by site and person, ComBat and what it must know of them, drift."""
