"""Latent zoom: slices restored by a latent diffusion model, and any number between them by interpolation of their codes."""
