"""A planted lesion is kept by what restores all that is there, gone where the scan is not heard, and told where it comes up."""

from __future__ import annotations

import numpy as np
import pytest

from core.evaluation.planted import planted_lesion
from core.evaluation.protocol import Probe
from core.geometry.grid import Array, Grid
from core.methods.base import Measured
from core.methods.registry import build_method
from core.operators.forward_model import SliceProfile
from core.stats import scan_stats

GRID = Grid((48, 48, 48), np.eye(4))


def head() -> Array:
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, 48)] * 3, indexing="ij")
    noise = np.random.default_rng(0).normal(0, 2, x.shape)
    return np.asarray(np.where(x**2 + y**2 + z**2 < 0.7, 100, 0) + noise, np.float32)


def probed(restore, *, repaired: bool = False) -> dict[str, float]:  # type: ignore[no-untyped-def]
    """The figures of something that restores a sharp scan."""
    measured = Measured(head(), GRID, scan_stats(head()), SliceProfile(), (3, 4))
    return planted_lesion(
        Probe(measured, restore(measured), head(), GRID, build_method("cubic", {}, None), restore, repaired=repaired)
    )


def test_what_is_restored_as_it_is_keeps_the_lesion_and_nothing_else() -> None:
    figures = probed(lambda scan: scan.image.copy())
    assert figures == pytest.approx({"lesion_kept": 1, "lesion_survives": 1, "lesion_ghost": 0, "place_empty": 1}, abs=1e-5)


def test_what_does_not_hear_the_scan_loses_it_unless_it_is_repaired() -> None:
    figures = probed(lambda _: head())
    assert (figures["lesion_kept"], figures["lesion_survives"]) == (0, 0)
    assert probed(lambda _: head(), repaired=True)["lesion_kept"] > 0.7


def test_a_change_elsewhere_is_a_ghost() -> None:
    def twice(scan: Measured) -> Array:
        return np.asarray(scan.image + 0.5 * np.roll(scan.image - head(), 24, axis=0), np.float32)

    figures = probed(twice)
    assert (figures["lesion_survives"], figures["place_empty"]) == (1, 0)
    assert figures["lesion_ghost"] == pytest.approx(0.5, abs=0.1)
