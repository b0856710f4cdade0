"""Scans with holes, an offset or faults, as the family's networks are shown them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.geometry.grid import Grid
from core.methods import registry
from core.methods.base import Measured
from core.methods.iterative import IterativeMethod
from core.methods.srmri import mock
from core.methods.srmri.method import Srmri
from core.methods.srmri.sampling import few_steps, slice_walk
from core.methods.srmri.sampling.few_steps import volume_of
from core.methods.srmri.sampling.sampler import Rules
from core.operators.forward_model import ForwardModel, Identity, InPlane
from core.stats import scan_stats
from tests.core.methods.srmri.test_volumes import model, scan


def with_hole(inside: float, how: ForwardModel) -> tuple[Measured, Grid]:
    """A scan that has that in a hole, with the statistics that the engine takes of all of it."""
    measured, target = scan(how, shape=(12, 16, 4))
    hole = np.zeros(measured.grid.shape, bool)
    hole[2:5, 3:6, 1:3] = True
    image = np.where(hole, np.float32(inside), measured.image)
    return replace(measured, image=image, stats=scan_stats(image), mask=hole), target


@pytest.mark.parametrize("how", [Identity(), InPlane(axis="S")])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("srmri", {"levels": 2}),
        ("srmri", {"sampler": "slices", "scales": 2}),
        ("dps", {"scales": 2}),
        ("score-sde", {"scales": 2, "projection": "nearest"}),
    ],
)
def test_what_a_mask_covers_has_no_say(tmp_path: Path, method: str, options: dict[str, object], how: ForwardModel) -> None:
    mock.write(str(tmp_path), method)
    restorer = registry.build_method(method, options, str(tmp_path))
    dark, bright = (restorer.restore([each], target)[0] for each, target in (with_hole(0, how), with_hole(1e4, how)))
    assert np.isfinite(dark).all()
    assert dark.tobytes() == bright.tobytes()


def test_a_hole_begins_as_what_is_around_it_under_noise_that_hides_it(tmp_path: Path) -> None:
    measured, target = with_hole(0, Identity())
    flat = replace(measured, image=np.where(measured.mask, 0, np.float32(3)))
    problem = volume_of(model(), [flat], target)
    np.testing.assert_allclose(problem.start, 1, rtol=1e-6)
    mock.write(str(tmp_path), "srmri")
    plain, own = (registry.build_method("srmri", options, str(tmp_path)) for options in ({}, {"first": 0.7}))
    assert isinstance(plain, Srmri)
    assert isinstance(own, Srmri)
    whole = volume_of(model(), [replace(flat, mask=None)], target)
    firsts = [method.pace(posed).first for method in (plain, own) for posed in (problem, whole)]
    assert firsts == [few_steps.ANEW, few_steps.FIRST, 0.7, 0.7]


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("srmri", {"levels": 2, "samples": 2}),
        ("srmri", {"sampler": "slices", "scales": 2, "samples": 2}),
        ("mcg", {"scales": 2, "samples": 2}),
        ("srmri", {"levels": 2, "samples": 2, "kernel_steps": 1}),
        ("kernelgan-zssr", {"kernel_steps": 1, "steps": 1}),
        ("srcnn", {}),
    ],
)
def test_an_offset_of_a_scan_is_that_of_its_result(tmp_path: Path, method: str, options: dict[str, object]) -> None:
    mock.write(str(tmp_path), method)
    measured, target = with_hole(0, InPlane(axis="S"))
    made = []
    for offset in (0, -300):
        image = np.maximum(measured.image, 0) + np.float32(offset)
        moved = replace(measured, image=image, stats=scan_stats(image), mask=measured.mask if method == "mcg" else None)
        restorer = registry.build_method(method, options, None if method == "kernelgan-zssr" else str(tmp_path))
        if not isinstance(restorer, IterativeMethod):
            made.append((restorer.restore([moved], target)[0], None))
            continue
        problem = restorer.prepare([moved], target)
        state = restorer.start(problem)
        assert len(list(restorer.steps(problem, state))) == restorer.total()
        made.append((restorer.result(problem, state)[0], restorer.beside(problem, state).maps.get("sd", [None])[0]))
    (plain, spread), (shifted, same) = made
    close = 2e-3 * float(np.abs(plain).max())
    np.testing.assert_allclose(shifted + 300, plain, atol=close)
    if spread is not None:
        np.testing.assert_allclose(same, spread, atol=close)


def test_a_voxel_far_below_the_air_is_not_shown() -> None:
    measured, target = scan(InPlane(axis="S"), shape=(12, 16, 4))
    faulty = measured.image.copy()
    faulty[0, 0, 0] = -100 * measured.stats.upper
    stack = slice_walk.stack_of(model(), Rules("dps"), 2, replace(measured, image=faulty, stats=scan_stats(faulty)), target)
    assert stack.raised.min() > -1
