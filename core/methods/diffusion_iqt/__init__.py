"""DiffusionIQT (Chen et al. 2023)."""
