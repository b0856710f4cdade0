"""Shuffling is exact both ways, along each axis by its own factor."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.errors import GridError
from core.networks.shuffle import shuffle, unshuffle

FACTORS = st.tuples(*[st.integers(1, 4)] * 3)
EDGES = st.tuples(*[st.integers(1, 3)] * 3)


@given(FACTORS, EDGES, st.integers(1, 3))
def test_shuffle_and_unshuffle_are_inverses(factors: tuple[int, ...], edges: tuple[int, ...], channels: int) -> None:
    shape = [edge * factor for edge, factor in zip(edges, factors, strict=True)]
    image = torch.arange(2.0 * channels * math.prod(shape)).reshape(2, channels, *shape)
    cells = unshuffle(image, factors)
    assert cells.shape == (2, channels * math.prod(factors), *edges)
    assert torch.equal(shuffle(cells, factors), image)
    assert torch.equal(unshuffle(shuffle(cells, factors), factors), cells)


def test_each_channel_is_a_phase_of_the_grid() -> None:
    image = torch.arange(4.0 * 4 * 8).reshape(1, 1, 4, 4, 8)
    cells = unshuffle(image, (2, 1, 4))
    for number, (i, k) in enumerate((i, k) for i in range(2) for k in range(4)):
        assert torch.equal(cells[:, number], image[:, 0, i::2, :, k::4])


def test_torch_s_own_shuffle_is_the_plane_of_it() -> None:
    image = torch.rand(2, 3, 6, 8)
    assert torch.equal(unshuffle(image[..., None], (2, 2, 1))[..., 0], torch.nn.functional.pixel_unshuffle(image, 2))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(GridError, match=r"factors-unfit: expected edges in multiples of \(1, 1, 4\), but got \(4, 4, 6\)\. Pad"):
        unshuffle(torch.zeros(1, 1, 4, 4, 6), (1, 1, 4))
    with pytest.raises(GridError, match=r"factors-unfit: expected channels in multiples of 4, but got 6\. Correct"):
        shuffle(torch.zeros(1, 6, 4, 4, 6), (1, 1, 4))
