"""What a restored scan is flagged for, and what it is not."""

from __future__ import annotations

import dataclasses
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from core.engine.quality import CHECKS, Baseline, Quality, _period, assess, brief, seam_score
from core.geometry.grid import Array, Box, Grid
from core.geometry.resample import interpolate
from core.geometry.tiles import Tiling, halo_patches, patches, slabs, volume
from core.io import nifti
from core.methods.base import Measured
from core.operators.forward_model import SliceProfile
from core.settings.run import QualityThresholds
from core.stats import scan_stats

NOISE = 2.0  # of tissue at 100
HEAD = (80, 96, 80)


def anatomy(seed: int = 0) -> Array:
    """A head of 1 mm voxels: an ellipsoid of 100 with smooth structure, and a dark core."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in HEAD), indexing="ij")
    waves = sum(np.cos(rng.uniform(2, 9, 3) @ [x.ravel(), y.ravel(), z.ravel()] + rng.uniform(0, 6)) for _ in range(6))
    radius = np.sqrt((x / 0.85) ** 2 + (y / 0.9) ** 2 + (z / 0.8) ** 2)
    head = (100 + 6 * waves.reshape(HEAD)) / (1 + np.exp((radius - 1) * 30))
    return np.asarray(head - 50 * np.exp(-((radius / 0.25) ** 2)), dtype=np.float32)


def scan(image: Array, mm: int = 4, seed: int = 0) -> tuple[Measured, Grid]:
    """The image as slices of ``mm`` with noise, and the grid of the image."""
    target = Grid(image.shape, np.eye(4))
    source = target.refine(2, Fraction(1, mm))
    seen = SliceProfile().operator(source, target).forward(image)
    noisy = np.abs(seen + NOISE * np.random.default_rng(seed).standard_normal(seen.shape)).astype(np.float32)
    stats = dataclasses.replace(scan_stats(noisy), noise_sd=NOISE)
    return Measured(noisy, source, stats, SliceProfile()), target


def ball(centre: tuple[float, float, float], radius: float) -> Array:
    """1 within ``radius`` mm of ``centre``, 0 elsewhere."""
    squares = (((np.arange(n) - at) ** 2) for n, at in zip(HEAD, centre, strict=True))
    x, y, z = np.meshgrid(*squares, indexing="ij")
    return (x + y + z <= radius**2).astype(np.float32)


def check(measured: Measured, restored: Array, target: Grid, tiling: Tiling | None = None) -> Quality:
    return assess(measured, restored, target, tiling or volume(target.shape), QualityThresholds())


def codes(quality: Quality) -> set[str]:
    return {code for code, _ in quality.problems}


@pytest.fixture(scope="module")
def head() -> Array:
    return anatomy()


def cubic(measured: Measured, target: Grid) -> Array:
    return interpolate(measured.image, measured.grid, target, 3)


@pytest.mark.parametrize("mm", [4, 8])
def test_an_ordinary_restoration_and_the_truth_pass(head: Array, mm: int) -> None:
    measured, target = scan(head, mm)
    for restored in (head, cubic(measured, target)):
        quality = check(measured, restored, target, slabs(target.shape, 2, 32))
        assert quality.problems == []
        assert all(np.isfinite(list(quality.figures.values())))


def test_the_truth_is_consistent_up_to_the_noise(head: Array) -> None:
    measured, target = scan(head)
    quality = check(measured, head, target)
    assert quality.figures["consistency"] == pytest.approx(1, abs=0.05)
    assert quality.consistency_map.shape == measured.grid.shape
    assert quality.consistency_map.dtype == np.float32


def test_the_map_is_signed_and_in_units_of_the_noise(head: Array) -> None:
    measured, target = scan(head)
    exact = dataclasses.replace(measured, image=SliceProfile().operator(measured.grid, target).forward(head))
    quality = check(exact, head + np.float32(3 * NOISE), target)
    np.testing.assert_allclose(quality.consistency_map, 3, atol=1e-3)


@pytest.mark.parametrize("sign", [1, -1], ids=["planted", "erased"])
def test_a_false_and_an_erased_lesion_are_flagged(head: Array, sign: int) -> None:
    measured, target = scan(head)
    quality = check(measured, cubic(measured, target) + sign * 50 * ball((48, 60, 40), 6), target)
    assert codes(quality) == {"local"}
    x, y, z = np.unravel_index(np.argmax(sign * quality.consistency_map), quality.consistency_map.shape)
    assert np.linalg.norm(measured.grid.world(np.array([[x, y, z]])) - [48, 60, 40]) < 9


def test_lesions_are_told_from_none_by_the_local_figure(head: Array) -> None:
    rng = np.random.default_rng(3)
    measured, target = scan(head, 8)
    plain = cubic(measured, target)
    without = [check(scan(head, 8, seed)[0], cubic(scan(head, 8, seed)[0], target), target).figures["local"] for seed in range(6)]
    centres = [tuple(np.array(HEAD) / 2 + rng.uniform(-16, 16, 3)) for _ in range(12)]
    with_one = [check(measured, plain + 30 * ball(centre, 7), target).figures["local"] for centre in centres]
    auc = np.mean([[high > low for low in without] for high in with_one])
    assert auc >= 0.95


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("mm", [1, -1])
def test_a_shifted_volume_is_flagged_with_its_shift(head: Array, axis: int, mm: int) -> None:
    measured, target = scan(head)
    quality = check(measured, np.roll(head, mm, axis), target)
    assert "shift" in codes(quality)
    assert quality.figures["shift"] == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("factor", [0.9, 0.95, 1.05, 1.1])
def test_a_scaled_volume_is_flagged_with_its_gain(head: Array, factor: float) -> None:
    measured, target = scan(head)
    quality = check(measured, cubic(measured, target) * np.float32(factor), target)
    assert re.search(r"error of the gain is \S+ % .at most 3 %", dict(quality.problems)["gain-error"])
    assert quality.figures["gain_error"] == pytest.approx(factor - 1, abs=0.01)


@pytest.mark.parametrize("gain", [1.1, 0.9])
def test_the_gain_of_a_scan_in_z_scores_is_seen(head: Array, gain: float) -> None:
    """Their mean is 0: nothing can be relative to it."""
    measured, target = scan(head)
    scores = ((measured.image - measured.image.mean()) / measured.image.std()).astype(np.float32)
    measured = dataclasses.replace(measured, image=scores, stats=scan_stats(scores))
    image = cubic(measured, target)
    assert "gain-error" not in codes(check(measured, image, target))
    assert "gain-error" in codes(check(measured, image * np.float32(gain), target))


def test_a_fault_at_the_border_is_as_large_as_one_within(head: Array) -> None:
    measured, target = scan(np.float32(100) + head)
    image = cubic(measured, target)
    figures = []
    for start in (0, 30):
        faulty = image.copy()
        faulty[start : start + 8, 40:52, 30:42] += 60
        figures.append(check(measured, faulty, target).figures["local"])
    assert figures[0] > figures[1] > 0.15  # at the border the fault fills what there is of the cube


def test_a_plane_that_is_repeated_at_a_tiles_face_is_a_seam(head: Array) -> None:
    measured, target = scan(head)
    image = cubic(measured, target)
    tiling = slabs(target.shape, 0, 40)
    assert "seam" not in codes(check(measured, image, target, tiling))
    image[40] = image[39]
    assert "at least 0.7" in dict(check(measured, image, target, tiling).problems)["seam"]


def test_a_flip_of_sides_is_flagged(head: Array) -> None:
    measured, target = scan(head)
    assert "local" in codes(check(measured, cubic(measured, target)[::-1], target))


def test_an_inflated_head_changes_the_volume(head: Array) -> None:
    measured, target = scan(head)
    bigger = Grid(target.shape, np.diag([1.02, 1.02, 1.02, 1.0]))
    figures = check(measured, cubic(measured, target), bigger).figures
    assert figures["volume_change"] == pytest.approx(1.02**3 - 1, abs=0.02)
    assert figures["volume_mm3"] == pytest.approx(figures["measured_volume_mm3"] * 1.02**3, rel=0.02)


def test_what_lies_beyond_the_measured_field_of_view_is_not_its_volume(head: Array) -> None:
    measured, target = scan(head)
    part = measured.crop(Box((0, 0, 5), (80, 96, 15)))
    quality = check(part, cubic(measured, target), target)
    assert abs(quality.figures["volume_change"]) < 0.01


def test_voxels_that_are_not_finite_are_counted_and_poison_nothing_else(head: Array) -> None:
    measured, target = scan(head)
    restored = cubic(measured, target)
    restored[40, 40, 40:43] = [np.nan, np.inf, -np.inf]
    quality = check(measured, restored, target)
    assert "non-finite" in codes(quality)
    assert quality.figures["non_finite"] == 3
    assert np.isfinite(quality.consistency_map).all()
    assert np.isfinite(list(quality.figures.values())).all()


def test_a_scan_with_no_voxel_above_0_is_flagged_for_nothing_is_compared_of_it(head: Array) -> None:
    inverted, target = scan(head)
    inverted = dataclasses.replace(inverted, image=-inverted.image - 1)
    inverted = dataclasses.replace(inverted, stats=scan_stats(inverted.image))
    assert "no-head" in codes(check(inverted, cubic(inverted, target), target))
    assert "no-head" not in codes(check(*(scan(head - 50)[0], head - 50, target)))


def test_values_far_beyond_the_measured_range_are_flagged(head: Array) -> None:
    measured, target = scan(head)
    restored = cubic(measured, target)
    restored[40, 48, 40] = 3 * measured.stats.maximum
    quality = check(measured, restored, target)
    assert codes(quality) == {"overshoot"}


@pytest.mark.parametrize("mm", [4, 8])
@pytest.mark.parametrize("order", [0, 1, 3])
def test_interpolated_slabs_have_no_seam(head: Array, mm: int, order: int) -> None:
    measured, target = scan(head, mm)
    restored = interpolate(measured.image, measured.grid, target, order)
    assert seam_score(restored, target, measured, slabs(target.shape, 2, 16)) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("tiling", [slabs(HEAD, 2, 16), patches(HEAD, 32, 8, "hann"), halo_patches(HEAD, 32, 4)])
def test_blocks_raise_the_seam_score(head: Array, tiling: Tiling) -> None:
    measured, target = scan(head)
    smooth = cubic(measured, target)
    blocky = smooth.copy()
    rng = np.random.default_rng(1)
    for tile in tiling.tiles():
        blocky[tile.write.slices] *= np.float32(1 + 0.08 * rng.standard_normal())
    assert seam_score(smooth, target, measured, tiling) < 1.05
    assert seam_score(blocky, target, measured, tiling) > 1.1
    assert "seam" in codes(check(measured, blocky, target, tiling))


@pytest.mark.parametrize("mm", [4, 8])
def test_steps_from_slice_to_slice_are_no_seam(head: Array, mm: int) -> None:
    """Faces between slices are held against others between slices, not against planes within one."""
    measured, target = scan(head, mm)
    nearest, linear = (interpolate(measured.image, measured.grid, target, order) for order in (0, 1))
    tiling = slabs(target.shape, 2, 16)
    assert seam_score((nearest + linear) / 2, target, measured, tiling) == pytest.approx(1, abs=0.05)
    assert seam_score((nearest + linear) / 2, target, measured, slabs(target.shape, 2, 18)) == pytest.approx(1, abs=0.05)


def test_one_tile_has_no_seam(head: Array) -> None:
    measured, target = scan(head)
    assert seam_score(head, target, measured, volume(HEAD)) == 1


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_constant_scan_passes(value: float) -> None:
    image = np.full((8, 8, 8), value, np.float32)
    grid = Grid(image.shape, np.diag([1, 1, 4, 1.0]))
    measured = Measured(image, grid, scan_stats(image), SliceProfile())
    target = grid.isotropic(1.0)
    quality = check(measured, np.full(target.shape, value, np.float32), target, slabs(target.shape, 2, 8))
    assert quality.problems == []


def test_a_scan_of_one_slice_is_assessed(head: Array) -> None:
    image = head[:, :, 40:41]
    grid = Grid(image.shape, np.diag([1, 1, 5, 1.0]))
    target = grid.isotropic(1.0)
    measured = Measured(image, grid, scan_stats(image), SliceProfile())
    assert check(measured, interpolate(image, grid, target, 3), target).problems == []


def test_each_threshold_flags_by_its_own_name(head: Array) -> None:
    measured, target = scan(head)
    tight = QualityThresholds(**{check.threshold: 1e-9 for check in CHECKS})
    baseline = Baseline(cubic(measured, target), repaired=True)
    quality = assess(measured, baseline.image + ball((20, 50, 40), 3), target, slabs(target.shape, 2, 16), tight, baseline)
    assert codes(quality) == {one.figure.replace("_", "-") for one in CHECKS}
    assert {one.threshold for one in CHECKS} == set(QualityThresholds.model_fields) - {"check_faces"}
    assert all("at most" in reason and "\n" not in reason for _, reason in quality.problems)


def test_a_scan_that_is_turned_against_the_target_is_judged_too(head: Array) -> None:
    measured, target = scan(head)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    turned = Grid(target.shape, target.affine @ affine)
    image = interpolate(measured.image, measured.grid, turned, 3)
    assert not check(measured, image, turned).problems
    assert "consistency" in codes(check(measured, image[:, ::-1], turned)) | codes(check(measured, np.zeros_like(image), turned))


def real_cases(folder: Path) -> list[Measured]:
    """Four thick-sliced T1w (two persons and scanners, 4 and 8 mm), and a T2w as acquired."""
    found = []
    for name in ("ds002748/sub-01/anat/sub-01_T1w.nii.gz", "ds000011/sub-01/anat/sub-01_T1w.nii.gz"):
        image, grid, _ = nifti.load(str(folder / name))
        for mm in (4, 8):
            source = grid.refine(2, Fraction(grid.spacing[2] / mm).limit_denominator(100))
            seen = SliceProfile().operator(source, grid).forward(image)
            found.append(Measured(seen, source, scan_stats(seen), SliceProfile()))
    image, grid, _ = nifti.load(str(folder / "ds000011/sub-01/anat/sub-01_inplaneT2.nii.gz"))
    return [*found, Measured(image, grid, scan_stats(image), SliceProfile())]


@pytest.mark.slow
def test_real_scans_pass_with_cubic_and_are_flagged_with_gross_faults(scans: Path) -> None:
    for measured in real_cases(scans):
        target = measured.grid.isotropic(1.0)
        restored = cubic(measured, target)
        tiling = slabs(target.shape, 2, 64)
        assert check(measured, restored, target, tiling).problems == []
        for wrong in (np.roll(restored, 1, 0), np.roll(restored, 1, 2), restored[::-1], restored * np.float32(1.1)):
            assert check(measured, np.ascontiguousarray(wrong), target, tiling).problems


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.0004, "0"), (0.0123, "0.012"), (1.2345, "1.23"), (999.4, "999"), (1000.0, "1,000"), (12345.6, "12,346")],
)
def test_numbers_are_told_to_three_digits(value: float, told: str) -> None:
    assert brief(value) == told


def test_infinite_voxels_are_taken_as_zero_not_as_large(head: Array) -> None:
    measured, target = scan(head)
    image = cubic(measured, target)
    zero, infinite, negative = (image.copy() for _ in range(3))
    zero[40, 40, 40], infinite[40, 40, 40], negative[40, 40, 40] = 0, np.inf, -np.inf
    maps = [check(measured, each, target).consistency_map for each in (zero, infinite, negative)]
    assert np.array_equal(maps[0], maps[1])
    assert np.array_equal(maps[0], maps[2])


def test_black_slices_at_the_ends_are_no_stripes_nor_repeated_planes(head: Array) -> None:
    cut = head.copy()
    cut[..., :28] = cut[..., 60:] = 0
    measured, target = scan(cut)
    baseline = Baseline(cubic(measured, target), repaired=False)
    quality = assess(measured, cut, target, volume(target.shape), QualityThresholds(), baseline)
    assert not codes(quality) & {"stripes", "repeated"}
    cut[..., 40::2] *= np.float32(1.12)
    assert "stripes" in codes(assess(measured, cut, target, volume(target.shape), QualityThresholds(), baseline))


def test_a_head_that_is_added_counts_though_nothing_was_measured_there(head: Array) -> None:
    """The residual is looked at where either image shows a head, so that a blob in the air is not passed over."""
    measured, target = scan(head)
    image = cubic(measured, target)
    image[:6, :6, 30:60] += 100
    assert (
        check(measured, image, target).figures["consistency"]
        > 2 * check(measured, cubic(measured, target), target).figures["consistency"]
    )


def test_overshoot_is_relative_to_the_measured_range(head: Array) -> None:
    measured, target = scan(head)
    span = measured.stats.maximum - measured.stats.minimum
    image = np.clip(cubic(measured, target), measured.stats.minimum, measured.stats.maximum)
    assert check(measured, image, target).figures["overshoot"] == 0
    for at in (measured.stats.maximum + 0.5 * span, measured.stats.minimum - 0.5 * span):
        image[0, 0, 0] = at
        assert check(measured, image, target).figures["overshoot"] == pytest.approx(0.5, rel=1e-5)


def test_overshoot_of_a_constant_scan_is_in_its_own_unit() -> None:
    image = np.full((8, 8, 8), 7, np.float32)
    grid = Grid(image.shape, np.eye(4))
    measured = Measured(image, grid, scan_stats(image), SliceProfile())
    assert check(measured, image + np.float32(2.5), grid).figures["overshoot"] == 2.5


def ramp(steps: dict[int, float]) -> Array:
    """Planes that rise by 1 along the first axis, but across the faces named (n: between n - 1 and n) by what is said."""
    rises = [steps.get(face, 1.0) for face in range(1, 24)]
    line = np.concatenate([[0.0], np.cumsum(rises)]).astype(np.float32)
    return np.ascontiguousarray(np.broadcast_to(line[:, None, None], (24, 4, 4)))


@pytest.mark.parametrize(
    ("flat", "planes"),
    [((16,), 24), ((), 12)],  # no step was measured across the second face; that face lies beyond the scan
)
def test_a_face_where_nothing_was_measured_to_hold_it_against_is_no_seam(flat: tuple[int, ...], planes: int) -> None:
    image, target = ramp(dict.fromkeys(flat, 0.0)), Grid((24, 4, 4), np.eye(4))
    part = Measured(image, target, scan_stats(image), SliceProfile()).crop(Box((0, 0, 0), (planes, 4, 4)))
    assert seam_score(ramp({16: 5.0}), target, part, slabs(target.shape, 0, 8)) == pytest.approx(1)
    assert seam_score(ramp({8: 5.0}), target, part, slabs(target.shape, 0, 8)) == pytest.approx(5)


@pytest.mark.parametrize(("scale", "period"), [(0.5, 1), (0.75, 3), (2 / 3, 2), (0.05, 1), (0.01, 1)])
def test_target_planes_are_in_phase_again_after_one_plane_at_least(scale, period):
    assert _period(scale) == period


@pytest.mark.parametrize("repaired", [False, True])
def test_what_lies_under_a_mask_has_no_say(head: Array, repaired: bool) -> None:
    """A void or an implant that is masked out: the truth passes, with the same figures whatever values the scan has there."""
    whole, target = scan(head)
    mask = np.zeros(whole.grid.shape, np.bool_)
    mask[34:46, 40:56, 8:12] = True
    seen = []
    for value in (0.0, 100.0, 1e3, 3e4):
        image = np.where(mask, np.float32(value), whole.image)
        measured = dataclasses.replace(whole, image=image, stats=scan_stats(image), mask=mask)
        plain = Baseline(cubic(measured, target), repaired)
        seen.append(assess(measured, head, target, volume(target.shape), QualityThresholds(), plain))
    assert [quality.problems for quality in seen] == [[]] * 4
    assert all(quality.figures == seen[0].figures for quality in seen)
