"""Nearest, linear and cubic interpolation."""
