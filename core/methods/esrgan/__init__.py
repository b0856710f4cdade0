"""ESRGAN in three dimensions (Wang et al. 2018)."""
