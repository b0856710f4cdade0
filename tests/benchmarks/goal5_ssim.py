"""Goal 5: SSIM in 3-D against MONAI, scikit-image and torchmetrics."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from core.evaluation.metrics import ssim
from core.geometry.grid import Array
from tests.benchmarks.harness import Row, faster, in_turns, installed, missing, peak_growth, tell, within

SHAPE, RANGE, ROUNDS = (160, 224, 160), 1000.0, 5
VOLUME = 4 * float(np.prod(SHAPE))
WHAT = "SSIM, CPU s"


def pair() -> tuple[Array, Array]:
    """A smooth image of 0 to 1000 and the same with noise."""
    rng = np.random.default_rng(0)
    smooth = gaussian_filter(rng.normal(size=SHAPE), 2)
    clean = RANGE * (smooth - smooth.min()) / np.ptp(smooth)
    return (clean + rng.normal(scale=30, size=SHAPE)).astype(np.float32), clean.astype(np.float32)


def skimage(image: Array, clean: Array) -> float:
    """scikit-image, with the paper's window."""
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(image, clean, data_range=RANGE, **options))


def monai(image: Array, clean: Array) -> float:
    """MONAI's metric of the same window."""
    from monai.metrics import SSIMMetric

    metric = SSIMMetric(3, data_range=RANGE, win_size=11, kernel_sigma=1.5)
    return float(metric(torch.from_numpy(image)[None, None], torch.from_numpy(clean)[None, None]))


def torchmetrics(image: Array, clean: Array) -> float:
    """torchmetrics, of the same window."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    given = (torch.from_numpy(one)[None, None] for one in (image, clean))
    return float(structural_similarity_index_measure(*given, data_range=RANGE, sigma=1.5, kernel_size=11))


def slow(peer: Callable[[Array, Array], float], name: str, ours: float, image: Array, clean: Array, times: float) -> Row:
    """One measurement of a peer that takes many seconds."""
    (seconds,) = in_turns([lambda: peer(image[:, :32], clean[:, :32])], 1)  # imports all
    (seconds,) = in_turns([partial(peer, image, clean)], 1)
    return faster(5, f"{WHAT} ({name})", ours, seconds, times)


def rows() -> list[Row]:
    """Speed, memory and agreement."""
    torch.set_num_threads(1)
    image, clean = pair()
    ours = partial(ssim, image, clean, data_range=RANGE, mask=None)
    value = ours()
    exact = skimage(image.astype(np.float64), clean.astype(np.float64))
    memory = [peak_growth(work) / VOLUME for work in (ours, partial(skimage, image, clean))]
    mine, theirs = in_turns([ours, partial(skimage, image, clean)], ROUNDS)
    what = missing(5, WHAT, "torchmetrics")
    if installed("torchmetrics"):
        what = slow(torchmetrics, "torchmetrics", mine, image, clean, 30)
    return [
        slow(monai, "MONAI", mine, image, clean, 30),
        faster(5, f"{WHAT} (scikit-image)", mine, theirs, 3),
        what,
        within(5, "SSIM, difference from scikit-image in float64", abs(value - exact), 1e-6),
        within(5, "SSIM, peak memory in volumes (scikit-image)", memory[0], 0.5, memory[1]),
    ]


if __name__ == "__main__":
    tell(rows())
