"""Diffusion: schedules and grids of times, what networks predict, and samplers, to be read beside their papers."""
