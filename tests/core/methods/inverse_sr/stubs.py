"""A prior whose decoder is a matrix and whose codes are standard normal: all that is searched with it has a closed form."""

from __future__ import annotations

import numpy as np
import torch

from core.diffusion.schedules import Discrete
from core.geometry.grid import Grid

SCHEDULE = Discrete.scaled_linear(1000, 0.0015, 0.0205)
GAIN = 0.9611  # of the chain


class LinearPrior:
    """Keeps what ``core.methods.inverse_sr.prior.Prior`` promises.

    Args:
        shape: of the window.
        codes: of the latent, (channels, x, y, z).
        mean: of the image of the code 0.
        scale: of the matrix.
    """

    schedule, device = SCHEDULE, "cpu"

    def __init__(self, shape=(8, 8, 8), codes=(2, 2, 2, 2), mean=0.0, scale=1.0, dtype=torch.float32, seed=0) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.shape, self.window, self.mean = codes, Grid(shape, np.eye(4)), mean
        self.matrix = torch.randn(int(np.prod(shape)), int(np.prod(codes)), generator=draw, dtype=torch.float64).to(dtype) * scale
        self.mean_code = np.zeros((1, *codes), np.float32 if dtype == torch.float32 else np.float64)

    @property
    def code_statistics(self):
        return self.mean_code, np.ones_like(self.mean_code)

    def decode(self, z, **_):
        return (self.matrix @ z.reshape(-1)).reshape(1, 1, *self.window.shape) + self.mean

    def encode(self, image):
        flat = (image - self.mean).reshape(-1, 1)
        return torch.linalg.lstsq(self.matrix.to(flat), flat).solution.reshape(1, *self.shape)

    def epsilon(self, z, t, _):
        return z * SCHEDULE.alpha_sigma(t)[1]

    def mean_image(self):
        return self.decode(torch.from_numpy(self.mean_code))[0, 0].numpy()

    def bytes_kept(self, steps, size):
        return steps * size

    def known(self, _):
        return np.full((1, 4), 0.5, np.float32), np.ones((1, 4), np.float32)
