"""Figures that need more than the two images: the overlap of a segmenter's labels, and a trained network's idea of likeness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from core.engine.plan import Weights
from core.evaluation.metrics.overlap import Labels, ious, mean_iou
from core.geometry.grid import Array, Grid
from tasks.evaluate.segmenters import Segmenter, TissueSegmenter, segmenter_of

TISSUES = ("csf", "gm", "wm")


@dataclass(frozen=True)
class Scoring:
    """What shall be scored beside PSNR and SSIM, as a value that can be sent to a worker.

    Attributes:
        segmenter: for the mean IoU, as the settings name it; "none" leaves it out.
        contrast: of the scans, for the segmenter.
        weights: of the segmenter, where it is a model.
        lpips: whether LPIPS is scored.
    """

    segmenter: str = "none"
    contrast: Literal["T1w", "FLAIR"] = "T1w"
    weights: Weights | None = None
    lpips: bool = False


@dataclass(frozen=True)
class Scorer:
    """What is scored beside PSNR and SSIM.

    Attributes:
        segmenter: for the mean IoU; None leaves it out.
        perceptual: LPIPS of an image and its truth, or of a slice and its; None where it is not wanted or cannot be had.
        missing: why a figure that was asked for cannot be had, by its name.
    """

    segmenter: Segmenter | None = None
    perceptual: Callable[[Array, Array], float] | None = None
    missing: tuple[tuple[str, str], ...] = ()

    @property
    def identity(self) -> str:
        """What its figures depend on."""
        return f"{self.segmenter.identity if self.segmenter else ''} {'lpips' if self.perceptual else ''}"

    def prepare(self, truth: Array, grid: Grid) -> tuple[Array, Labels | None]:
        """What is needed of a truth, whatever it is compared with."""
        return truth, self.segmenter.labels(truth, grid, truth) if self.segmenter else None

    def score(self, image: Array, grid: Grid, prepared: tuple[Array, Labels | None]) -> dict[str, float]:
        """The figures of a restored image."""
        truth, reference = prepared
        figures = {"lpips": float(self.perceptual(image, truth))} if self.perceptual else {}
        if self.segmenter and reference is not None:
            labels = self.segmenter.labels(image, grid, truth)
            figures["miou"] = mean_iou(labels, reference, background={0})
            if isinstance(self.segmenter, TissueSegmenter):
                each = ious(labels, reference, background={0})
                figures |= {f"iou_{name}": each[n] for n, name in enumerate(TISSUES, start=1) if n in each}
        return figures


@lru_cache(maxsize=2)
def scorer_of(scoring: Scoring) -> Scorer:
    """The scorer of what is to be scored, once a process.

    Raises:
        UsageError: a segmenter that is not there.
        WeightsError: a model that does not segment.
        IsovoxError: LPIPS cannot be had.
    """
    from core.evaluation.metrics.perceptual import Lpips

    segmenter = segmenter_of(scoring.segmenter, scoring.contrast, scoring.weights)
    return Scorer(segmenter, Lpips() if scoring.lpips else None)


def lpips_missing() -> str:
    """Why LPIPS cannot be had here; empty where it can."""
    from core.errors import IsovoxError
    from core.evaluation.metrics.perceptual import Lpips

    try:
        Lpips()
    except IsovoxError as error:
        return str(error)
    return ""
