"""Simulation, scoring and comparison."""
