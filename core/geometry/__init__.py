"""Grids, tiles, blending and resampling."""
