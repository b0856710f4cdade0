"""Pairs to train on: what the input shows of the truth, by number, within the brain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from core.errors import UsageError
from core.geometry.grid import Box, Grid
from core.geometry.resample import interpolate
from core.operators.forward_model import DroppedSlices, InPlane, KSpace, LowField, SliceProfile
from core.tissues import Tissues
from core.training.data.pairs import BRAIN, BRIGHTNESS, Pairs, draw_pair
from core.training.data.split import split_subjects
from core.training.data.subjects import Subject, occupancy

SHAPE = (70, 61, 58)
THICK = SliceProfile(factor=4)


def subject(image, name="01") -> Subject:
    grid = Grid(image.shape, np.diag([0.9, 0.9, 1.0, 1.0]))
    read = lambda box: np.ascontiguousarray(image[box.slices], np.float32)  # noqa: E731
    return Subject(name, name, grid, 100.0, occupancy(read, grid), None, read)


def ball(radius=0.7) -> np.ndarray:
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    inside = sum(one**2 for one in axes) < radius**2
    texture = np.random.default_rng(0).gamma(4, 15, SHAPE)
    return (inside * texture).astype(np.float32)


def test_low_field_noise_is_told_by_the_tissues_on_slices_along_the_axis_that_is_drawn():
    sharp, bright = (
        Tissues((20.0, mean - 20, mean), (5.0, 5.0, 5.0), (0.3, 0.3, 0.4), mean - 20, mean) for mean in (80.0, 800.0)
    )
    flat = replace(subject(np.full(SHAPE, 80, np.float32)), tissues=(sharp, bright, sharp))
    noise = [draw_pair(flat, LowField(factor=8), 16, np.random.default_rng(1), axis=axis).input.std() for axis in range(3)]
    assert noise[1] > 5 * max(noise[0], noise[2])


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("how", [THICK, DroppedSlices(factor=4), InPlane(factor=2), KSpace(factor=3)], ids=lambda how: how.kind)
def test_a_constant_scan_gives_constant_pairs(axis, how):
    pair = draw_pair(subject(np.full(SHAPE, 80, np.float32)), how, 16, np.random.default_rng(1), axis=axis)
    np.testing.assert_allclose(pair.input, pair.truth, rtol=1e-5)
    assert 0.8 / (1 + BRIGHTNESS) <= pair.truth.mean() <= 0.8 / (1 - BRIGHTNESS)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_the_input_is_a_cut_of_the_whole_scan_degraded_and_interpolated(axis, factor, monkeypatch):
    """Undo scale, turn and flips by telling where the patch was, then compare with the way of the whole volume."""
    image, how = ball(), SliceProfile(factor=factor)
    one = subject(image)
    monkeypatch.setattr("core.training.data.pairs.BRIGHTNESS", 0.0)
    monkeypatch.setattr("core.training.data.pairs.upright", lambda *_: lambda array: array)
    pair = draw_pair(one, how, 16, np.random.default_rng(2), axis=axis)
    windows = np.lib.stride_tricks.sliding_window_view(image, (16, 16, 16))
    at = np.argwhere((windows[..., 0, 0, 0] == pair.truth[0, 0, 0] * 100) | (pair.truth[0, 0, 0] == 0))
    start = next(a for a in at if np.allclose(windows[tuple(a)] / 100, pair.truth, rtol=1e-6))
    whole = []
    for phase in range(factor):
        first = [0, 0, 0]
        first[axis] = phase
        box = Box(tuple(first), image.shape)
        seen = how.degrade(image[box.slices], one.grid.crop(box), axis, np.random.default_rng(0))
        target = one.grid.crop(Box(tuple(start), tuple(start + 16)))
        whole.append(np.abs(interpolate(seen.image, seen.grid, target, 3) / 100 - pair.input).max())
    assert min(whole) < 1e-4


def test_a_pair_is_a_function_of_its_number_alone():
    pairs = Pairs([subject(ball()), subject(ball(0.5), "02")], THICK, 16, 3, 100)
    other = Pairs([subject(ball()), subject(ball(0.5), "02")], THICK, 16, 3, 100)
    for _ in range(3):
        other[5]
    assert torch.equal(pairs[17].inputs, other[17].inputs)
    assert torch.equal(pairs[17].truth, other[17].truth)
    assert not torch.equal(pairs[17].truth, pairs[18].truth)
    assert pairs[17].inputs.shape == (1, 16, 16, 16)


def test_patches_hold_enough_brain_and_slices_are_thick_along_the_last_axis():
    pairs = Pairs([subject(ball(0.9))], SliceProfile(factor=8), 16, 0, 40)
    shares, rough = [], []
    for n in range(40):
        seen, truth = pairs[n].inputs[0].numpy(), pairs[n].truth[0].numpy()
        shares.append((truth > 0).mean())
        rough.append([np.abs(np.diff(seen, axis=axis)).mean() for axis in range(3)])
    assert np.mean(np.array(shares) >= BRAIN * 0.75) > 0.95
    steps = np.mean(rough, axis=0)
    assert steps[2] < 0.5 * min(steps[:2])


def test_a_scan_smaller_than_the_patch_is_mirrored():
    pairs = Pairs([subject(np.ones((9, 20, 7), np.float32) * 50)], THICK, 16, 0, 5)
    assert all(pairs[n].inputs.shape == (1, 16, 16, 16) for n in range(5))


def test_no_person_is_on_two_sides_of_a_split():
    names = [f"{n:02d}" for n in range(1, 21)]
    split = split_subjects(names, (), ("01", "02"))
    parts = [set(split[part]) for part in ("train", "validation", "test")]
    assert set.union(*parts) == set(names)
    assert sum(map(len, parts)) == len(names)
    with pytest.raises(UsageError, match=r"each person in one part.*03 in two"):
        split_subjects(names, ("03",), ("03",))
    with pytest.raises(UsageError, match=r"persons of the cohort.*99"):
        split_subjects(names, ("99",), ())
    with pytest.raises(UsageError, match=r"got 99, and scans that could not be taken: sub-99_T1w\. Correct the labels, or mend"):
        split_subjects(names, ("99",), (), ["sub-99_T1w"])
    with pytest.raises(UsageError, match=r"at least one person to train on.* got 01 to do both.*named sub-<label>_"):
        split_subjects(["01"], ("01",), ())
    many = [f"{n:03d}" for n in range(1000)]
    with pytest.raises(UsageError, match=r"of the cohort: 000, .*, 007 and 992 more, but got 1000"):
        split_subjects(many, ("1000",), ())


def test_no_subjects_are_refused():
    with pytest.raises(UsageError, match="at least one subject"):
        Pairs([], THICK, 16, 0, 1)
