"""Cross-batch padding is convolution of the merged block, and merging loses nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from core.errors import RestorationError
from core.methods.diffusion_iqt.cross_batch import merge, split, windows

SHAPES = st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))


@given(SHAPES)
def test_merge_and_split_are_inverses(shape: tuple[int, ...]) -> None:
    blocks, channels, x, y, z = shape
    block = torch.arange(27.0 * blocks * channels * x * y * z).reshape(blocks, channels, 3 * x, 3 * y, 3 * z)
    patches = split(block)
    assert patches.shape == (27 * blocks, channels, x, y, z)
    assert torch.equal(merge(patches), block)
    assert torch.equal(split(merge(patches)), patches)


def test_neighbours_are_counted_with_the_last_axis_fastest() -> None:
    block = torch.zeros(1, 1, 6, 6, 6)
    block[0, 0, :2, 4:, 2:4] = 1  # place (0, 2, 1)
    assert split(block).flatten(1).any(1).nonzero().tolist() == [[2 * 3 + 1]]


@given(SHAPES, st.integers(1, 2), st.integers(0, 99))
def test_convolving_windows_is_convolving_the_merged_block(shape: tuple[int, ...], reach: int, seed: int) -> None:
    blocks, channels, *edges = shape
    draw = torch.Generator().manual_seed(seed)
    patches = torch.randn(27 * blocks, channels, *edges, generator=draw, dtype=torch.float64)
    weight = torch.randn(2, channels, *[2 * reach + 1] * 3, generator=draw, dtype=torch.float64)
    whole = functional.conv3d(merge(patches), weight, padding=reach)
    apart = functional.conv3d(windows(patches, reach), weight)
    torch.testing.assert_close(merge(apart), whole, rtol=1e-12, atol=1e-12)


def test_only_the_border_of_the_block_is_padded_with_zeros() -> None:
    cut = windows(torch.ones(27, 1, 4, 4, 4), 1)
    assert cut.shape == (27, 1, 6, 6, 6)
    assert cut[13].min() == 1  # the one in the middle
    assert int((cut[0] == 0).sum()) == 6**3 - 5**3  # a corner has zeros on three sides


@pytest.mark.parametrize("count", [0, 1, 26, 28])
def test_a_batch_that_is_not_whole_blocks_is_refused(count: int) -> None:
    with pytest.raises(
        RestorationError, match=rf"neighbours-incomplete: expected patches in multiples of 27, but got {count}\. Cut"
    ):
        merge(torch.zeros(count, 1, 2, 2, 2))


def test_a_block_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(RestorationError, match=r"block-uneven: expected edges in multiples of 3, but got \(6, 6, 7\)\. Enlarge"):
        split(torch.zeros(1, 1, 6, 6, 7))
