"""UniRes (Brudfors et al. 2018, 2019)."""
