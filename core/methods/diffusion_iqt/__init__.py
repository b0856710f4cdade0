"""DiffusionIQT (Kim et al. 2023)."""
