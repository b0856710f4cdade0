"""Noise that knows its place: the same bits for any cut, order and device, normal, and independent in every argument."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from core.errors import GridError
from core.geometry.grid import Box
from core.geometry.tiles import halo_patches, patches, slabs
from core.noise import LANES, WORD, _radius, _turn, field_key, normal, normal_tensor, philox

KEY = field_key(7, "sub-01_T1w")
SHAPE = (48, 50, 46)
WHOLE = Box.whole(SHAPE)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # the vectors of Random123, by the authors of Philox
        ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((WORD,) * 4, (WORD,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_its_authors_numbers(counter, key, expected) -> None:
    torch = pytest.importorskip("torch")
    a, b, c, d = counter
    assert philox((a, b, c, d), key) == expected
    assert tuple(int(w[0]) for w in philox(tuple(np.array([w], np.int64) for w in counter), key)) == expected
    assert tuple(int(w[0]) for w in philox(tuple(torch.tensor([w]) for w in counter), key)) == expected


def test_radius_and_turn_are_those_of_box_and_muller() -> None:
    rng = np.random.default_rng(0)
    words = np.concatenate([rng.integers(0, WORD, 10**5), [0, 1, 2, 2**30, 2**31 - 1, 2**31, 3 * 2**30, WORD - 1, WORD]])
    uniform = (words + 0.5) / 2**32
    np.testing.assert_allclose(_radius(words, np), np.sqrt(-2 * np.log(uniform)), rtol=1e-12)
    quarter, angle = words >> 30, ((words % 2**30) + 0.5) / 2**30 * np.pi / 2 - np.pi / 4
    cosine, sine = _turn(words, np)
    np.testing.assert_allclose(cosine, np.cos(angle + quarter * np.pi / 2), atol=1e-12)
    np.testing.assert_allclose(sine, np.sin(angle + quarter * np.pi / 2), atol=1e-12)


@given(st.tuples(*[st.integers(0, 20)] * 3), st.tuples(*[st.integers(1, 15)] * 3), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_a_box_holds_the_crop_of_the_volume(start, size, step: int) -> None:
    box = Box(start, tuple(a + n for a, n in zip(start, size, strict=True)))
    assert normal(box, KEY, step).tobytes() == normal(Box.whole((36, 36, 36)), KEY, step)[box.slices].tobytes()


@pytest.mark.parametrize(
    "tiling",
    [patches(SHAPE, 20, 7, "hann"), halo_patches(SHAPE, 19, 3), slabs(SHAPE, 2, 5), slabs(SHAPE, 0, 7, 2)],
    ids=["patches", "halo", "slabs along z", "slabs along x"],
)
def test_tiles_of_any_tiling_in_any_order_make_up_the_volume(tiling) -> None:
    whole = normal(WHOLE, KEY, 3)
    made = np.full(SHAPE, np.nan, np.float32)
    for index in np.random.default_rng(0).permutation(len(tiling)):
        tile = tiling.tile(int(index))
        part = normal(tile.read, KEY, 3)
        assert part.tobytes() == whole[tile.read.slices].tobytes()
        made[tile.read.slices] = part
    assert made.tobytes() == whole.tobytes()


def test_a_far_corner_of_a_vast_grid_is_made_alone() -> None:
    far = Box((2**31, 2**31, 2**33), (2**31 + 3, 2**31 + 3, 2**33 + 5))
    assert np.isfinite(normal(far, KEY, WORD)).all()
    assert not np.array_equal(normal(far, KEY, 0), normal(Box.whole((3, 3, 5)), KEY, 0))


def devices() -> list[str]:
    torch = pytest.importorskip("torch")
    return ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("step", [0, 999])
def test_torch_gives_the_bits_of_numpy_on_every_device(step: int) -> None:
    for device in devices():
        for box in (WHOLE, Box((3, 5, 7), (33, 12, 40)), Box((1, 1, 1), (2, 2, 2))):
            made = normal_tensor(box, KEY, step, device)
            assert made.device.type == device
            assert made.cpu().numpy().tobytes() == normal(box, KEY, step).tobytes()


def test_the_bits_are_those_of_every_machine() -> None:
    assert hashlib.sha256(normal(WHOLE, KEY, 3).tobytes()).hexdigest().startswith("a062fe43ade23af8")


def test_moments_and_tails_are_normal() -> None:
    field = normal(Box.whole((128, 128, 128)), KEY, 0).ravel().astype(np.float64)
    n = field.size
    assert abs(field.mean()) < 4 / np.sqrt(n)
    assert abs(field.var() - 1) < 4 * np.sqrt(2 / n)
    assert abs(stats.skew(field)) < 4 * np.sqrt(6 / n)
    assert abs(stats.kurtosis(field)) < 4 * np.sqrt(24 / n)
    assert stats.kstest(field[::7], "norm").pvalue > 1e-3
    beyond = np.count_nonzero(np.abs(field) > 4)
    expected = 2 * stats.norm.sf(4) * n
    assert abs(beyond - expected) < 4 * np.sqrt(expected)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """In standard deviations of that of independent fields; of the values, and of their squares."""
    root = np.sqrt(a.size)
    return max(abs(float(np.corrcoef(f(a).ravel(), f(b).ravel())[0, 1])) * root for f in (np.asarray, np.square))


@pytest.mark.parametrize("axis", range(3))
def test_neighbours_are_independent(axis: int) -> None:
    field = normal(Box.whole((96, 96, 96)), KEY, 0)
    for lag in (1, 2, 3, LANES, 7, 32):
        assert _correlation(np.take(field, range(96 - lag), axis), np.take(field, range(lag, 96), axis)) < 4.5


def test_steps_scans_and_seeds_have_fields_of_their_own() -> None:
    fields = [
        normal(WHOLE, field_key(seed, scan), step)
        for seed, scan, step in [(7, "a", 0), (7, "a", 1), (7, "a", 2), (8, "a", 0), (7, "b", 0), (-7, "a", 0)]
    ]
    for n, one in enumerate(fields):
        assert all(_correlation(one, other) < 4.5 for other in fields[:n])


def test_seed_and_scan_do_not_run_into_each_other() -> None:
    assert len({field_key(1, "2"), field_key(12, ""), field_key(1, "2\n"), field_key(2, "1")}) == 4


@pytest.mark.parametrize(("box", "step"), [(Box((0, -1, 0), (2, 2, 2)), 0), (WHOLE, -1), (WHOLE, 2**32)])
def test_what_has_no_place_is_refused_with_a_remedy(box, step) -> None:
    with pytest.raises(GridError, match=r"noise-index: expected .* at least 0, but got start .*\. Cut the box"):
        normal(box, KEY, step)
