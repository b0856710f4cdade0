"""Restores by steps as a run does, of scans as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.engine.iterate import Checkpoint, Driver, Tell
from core.geometry.grid import Array, Box, Grid
from core.methods.base import Measured, Piece
from core.methods.iterative import Figures, IterativeMethod


def drive(
    method: IterativeMethod[Any],
    measured: Sequence[Measured],
    target: Grid,
    checkpoint: Checkpoint | None = None,
    tell: Tell | None = None,
) -> tuple[list[Array], Figures]:
    """The restored scans, and what the steps told."""
    driver = Driver(method, checkpoint, tell)
    (images,) = driver([Piece(measured, target, Box.whole(target.shape))])
    return images, driver.figures
