"""Figures that need more than the two images: the overlap of a segmenter's labels, and a trained network's idea of likeness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from core.evaluation.metrics.overlap import Labels, ious, mean_iou
from core.geometry.grid import Array, Grid
from tasks.evaluate.segmenters import Segmenter, TissueSegmenter

TISSUES = ("csf", "gm", "wm")


@dataclass(frozen=True)
class Scorer:
    """What is scored beside PSNR and SSIM.

    Attributes:
        segmenter: for the mean IoU; None leaves it out.
        perceptual: LPIPS of an image and its truth; None where it is not wanted or cannot be had.
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


def perceptual_of() -> tuple[Callable[[Array, Array], float] | None, str]:
    """LPIPS, or why it cannot be had here."""
    from core.errors import IsovoxError
    from core.evaluation.metrics.perceptual import Lpips

    try:
        return Lpips(), ""
    except IsovoxError as error:
        return None, str(error)
