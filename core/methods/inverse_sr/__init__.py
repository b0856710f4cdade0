"""InverseSR (Wang et al. 2023): restoring by inverting a generative prior."""
