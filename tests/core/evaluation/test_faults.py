"""Planted faults: each is what it says, its size is that of its trace in the scan, and the table counts what was found."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from core.evaluation.faults import FAULTS, Scene, size
from core.evaluation.protocol import Entry, Probe
from core.evaluation.protocols.faults import PROFILE, bound, figures, table
from core.geometry.grid import Array, Grid
from core.geometry.resample import interpolate
from core.methods.base import Measured
from core.methods.registry import build_method
from core.operators.forward_model import SliceProfile
from core.stats import scan_stats

TARGET = Grid((60, 64, 60), np.eye(4))
BY_NAME = {fault.name: fault for fault in FAULTS}


def anatomy(shift: float = 0.0) -> Array:
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in TARGET.shape), indexing="ij")
    radius = np.sqrt((x / 0.85) ** 2 + (y / 0.9) ** 2 + (z / 0.85) ** 2)
    folds = 25 * np.cos(14 * (x + shift) + 3 * np.sin(8 * z)) * np.cos(12 * y - 5 * z + 2 * x)
    return np.asarray((100 + folds) / (1 + np.exp((radius - 1) * 25)), np.float32)


@pytest.fixture(scope="module")
def measured() -> Measured:
    source = TARGET.refine(2, Fraction(1, 4))
    seen = SliceProfile().operator(source, TARGET).forward(anatomy())
    noisy = np.abs(seen + np.random.default_rng(0).standard_normal(seen.shape)).astype(np.float32)
    return Measured(noisy, source, scan_stats(noisy), SliceProfile(), (7, 8))


@pytest.fixture(scope="module")
def scene(measured: Measured) -> Scene:
    return Scene(measured, interpolate(measured.image, measured.grid, TARGET, 3), TARGET, anatomy(0.3), 5)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_fault_changes_what_it_says_and_always_alike(scene: Scene, name: str) -> None:
    fault = BY_NAME[name]
    image, scan = fault.plant(scene)
    again = fault.plant(replace(scene))
    assert (image.dtype, scan.dtype) == (np.float32, np.float32)
    assert (image.shape, scan.shape) == (TARGET.shape, scene.measured.image.shape)
    assert np.array_equal(image, scene.image) == name.startswith("erased")
    assert np.array_equal(scan, scene.measured.image) == (not name.startswith("erased"))
    np.testing.assert_array_equal(image, again[0])
    np.testing.assert_array_equal(scan, again[1])


def test_a_lesion_is_a_ball_of_its_diameter(scene: Scene) -> None:
    for mm in (6, 12):
        ball = scene.ball(mm)
        assert ball.sum() == pytest.approx(np.pi * mm**3 / 6, rel=0.05)
        assert ball[scene.inside].sum() == pytest.approx(ball.sum(), rel=0.4)


def test_a_size_is_that_of_the_trace_in_the_scan(scene: Scene) -> None:
    noise = scene.measured.stats.noise_sd
    everywhere = size(scene, scene.image + np.float32(3 * noise), scene.measured.image)
    assert everywhere == pytest.approx(3 * np.sqrt(scene.measured.image.size), rel=0.01)
    invented, erased = (size(scene, *BY_NAME[f"{kind}-8-low"].plant(scene)) for kind in ("invented", "erased"))
    assert invented == pytest.approx(erased, rel=1e-4)
    signs = np.resize(np.float32([1, -1]), 60)
    assert size(scene, scene.image + 9 * signs, scene.measured.image) < 1e-3  # the null space of slices four voxels thick


def test_slices_are_repeated_and_swapped_whole(scene: Scene) -> None:
    at, thick = scene.slice, scene.thick
    assert (thick, at % thick) == (4, 0)
    repeated, swapped = (BY_NAME[name].plant(scene)[0] for name in ("slice-repeated", "slices-swapped"))
    np.testing.assert_array_equal(repeated[..., at : at + 4], scene.image[..., at + 4 : at + 8])
    np.testing.assert_array_equal(swapped[..., at + 4 : at + 8], scene.image[..., at : at + 4])


@pytest.mark.slow
def test_a_restored_scan_passes_and_its_faults_are_found(measured: Measured) -> None:
    method = build_method("cubic", {}, None)

    def restore(scan: Measured) -> Array:
        return interpolate(scan.image, scan.grid, TARGET, 3)

    probe = Probe(measured, restore(measured), anatomy(), TARGET, method, restore, anatomy(0.3))
    result = figures(probe)
    assert result["alarm"] == 0
    sizes = {name.removeprefix("size_"): value for name, value in result.items() if name.startswith("size_")}
    assert set(sizes) == {*BY_NAME, PROFILE}
    missed = {name for name, value in sizes.items() if value >= 8 and not result[f"found_{name}"]}
    assert missed <= {PROFILE}
    assert "other" not in {name.removeprefix("found_") for name in figures(replace(probe, other=None))}


def test_the_table_counts_and_bounds() -> None:
    rows = [
        Entry(person, "T1w", "", "cubic", {"alarm": alarm, "size_blur-2": 20.0, "found_blur-2": found, **small})
        for person, alarm, found, small in (
            ("01", 0.0, 1.0, {"size_invented-4-low": 3.0, "found_invented-4-low": 0.0}),
            ("02", 1.0, 0.0, {"size_invented-4-low": 9.0, "found_invented-4-low": 1.0}),
        )
    ]
    text = table(rows)["faults.md"]
    assert "| blur, 2 mm FWHM | 20–20 | 1 of 2 |" in text
    assert "| lesion of 4 mm invented, low contrast | 3–9 | 1 of 2 (1 below 8) |" in text
    assert "| persons | 1 of 2 (at most 97%) |" in text


def test_the_bound_is_that_of_clopper_and_pearson() -> None:
    for n in (1, 8, 20):
        assert bound(0, n) == pytest.approx(1 - 0.05 ** (1 / n))  # the closed form where none was seen
    assert bound(2, 20) == pytest.approx(0.2826, abs=1e-4)
    assert bound(3, 3) == 1
