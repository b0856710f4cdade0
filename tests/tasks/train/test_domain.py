"""Which scans a trained model is for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.geometry.grid import Grid
from core.io.arrays.store import Store
from core.operators.forward_model import SliceProfile
from core.training.data.drawn_slices import SliceRanges
from tasks.restore.work import write_image
from tasks.train.domain import domain_of, thick


def stored(tmp_path: Path, *radii: float) -> tuple[Store, list[str]]:
    """Bright balls of these radii, mm, beside nothing."""
    store, grid = Store(str(tmp_path / "cohort.zarr")), Grid((40, 40, 40), np.diag([5.0, 5.0, 5.0, 1.0]))
    places = np.stack(np.meshgrid(*[np.arange(40)] * 3, indexing="ij")) * 5.0 - 97.5
    for number, radius in enumerate(radii):
        noise = np.random.default_rng(0).random((40, 40, 40))
        image = np.where(np.linalg.norm(places, axis=0) < radius, 20 + 100 * noise, 0).astype(np.float32)
        stats = {"minimum": 0.0, "upper": 100.0}
        write_image(store, f"{number}_T1w/measured", image, grid, {"of": "x", "stats": stats}, "x")
    return store, [f"{number}_T1w" for number in range(len(radii))]


@pytest.mark.parametrize(("radii", "anatomy"), [((65, 72), ("brain",)), ((95, 95), ("head",)), ((65, 95), None)])
def test_a_prior_is_for_what_its_images_show_and_says_nothing_of_slices(
    tmp_path: Path, radii: tuple[float, ...], anatomy: tuple[str, ...] | None
) -> None:
    domain = domain_of(*stored(tmp_path, *radii), 2, None)
    assert domain.anatomy == anatomy
    assert (domain.contrasts, domain.sign, domain.persons, domain.factor) == (("T1w",), None, 2, None)


def test_a_restoring_model_is_for_slices_like_those_that_it_saw(tmp_path: Path) -> None:
    domain = domain_of(*stored(tmp_path, 65), 1, SliceProfile(factor=4))
    assert domain.anatomy is None
    assert domain.factor == (3.5, 4.5)


def test_a_model_of_drawn_slices_makes_voxels_like_those_of_its_sharp_scans(tmp_path: Path) -> None:
    """Their edges are 5 mm here; what scans it is for within the slices the recipe says."""
    ranges = SliceRanges(spacing=(2.0, 8.0), gap=0.3, profiles=("box",), noise=0.03, in_plane=(0.4, 2.61))
    domain = domain_of(*stored(tmp_path, 65), 1, None, ranges)
    assert domain.voxel_size == (5 * 0.875, 5 * 1.125)
    assert (domain.in_plane, domain.orientations) == ((0.4, 2.61), ("axial", "coronal", "sagittal"))
    assert domain_of(stored(tmp_path / "none")[0], [], 0, None, ranges).voxel_size is None


def test_scans_with_thick_slices_are_told_by_their_number_and_their_voxels(tmp_path: Path) -> None:
    """Along whichever axis; a scan of twice as thick slices passes yet."""
    store, sizes = Store(str(tmp_path / "cohort.zarr")), [(1, 1, 1), (1, 1, 2), (5, 1, 1), (1, 0.8, 3)]
    for number, size in enumerate(sizes):
        write_image(store, f"{number}/measured", np.ones((4, 4, 4), np.float32), Grid((4, 4, 4), np.diag([*size, 1.0])), {}, "x")
    assert thick(store, ["0", "1"]) is None
    assert thick(store, []) is None
    told = thick(store, ["0", "1", "2", "3"])
    assert told is not None
    assert told.startswith("thick: 2 of 4 scans to learn from have voxels of 0.8 to 1 mm, but of 3 to 5 mm along their slices'")
    assert "voxels of 1 mm, but of 5 mm along" in (thick(store, ["2"]) or "")
