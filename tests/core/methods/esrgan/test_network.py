"""The generator's blocks are as the paper draws them; the discriminator takes what there is."""

from __future__ import annotations

import pytest
import torch

from core.errors import GridError
from core.methods.esrgan.network import RRDB, DenseBlock
from core.networks import build

TINY = {"factors": [1, 1, 4], "width": 8, "growth": 4, "blocks": 1, "head": 2}


def test_a_dense_block_is_five_convolutions_that_see_all_before_them() -> None:
    block = DenseBlock(8, 4)
    assert [(conv.in_channels, conv.out_channels) for conv in block.convs] == [(8, 4), (12, 4), (16, 4), (20, 4), (24, 8)]


def test_blocks_add_a_fifth_of_what_they_hold() -> None:
    """With all weights zero but the last bias, 1, a dense block adds 0.2, three of them 0.6, and an RRDB a fifth of their sum."""
    block = RRDB(8, 4)
    with torch.no_grad():
        for one in block.parameters():
            one.zero_()
        for dense in block.blocks:
            dense.convs[-1].bias.fill_(1)
    x = torch.rand(1, 8, 4, 4, 4)
    torch.testing.assert_close(block.blocks[0](x), x + 0.2)
    torch.testing.assert_close(block(x), x + 0.2 * (x + 0.6))


@pytest.mark.parametrize("factors", [(1, 1, 4), (2, 2, 4), (1, 1, 1), (1, 3, 2)])
def test_the_generator_keeps_the_grid(factors: tuple[int, int, int]) -> None:
    shape = tuple(4 * factor for factor in factors)
    with torch.no_grad():
        assert build("ESRGAN", TINY | {"factors": factors})(torch.rand(2, 1, *shape)).shape == (2, 1, *shape)


def test_edges_that_the_factors_do_not_divide_are_refused() -> None:
    with pytest.raises(GridError, match=r"factors-unfit: expected edges in multiples of \(1, 1, 4\)"):
        build("ESRGAN", TINY)(torch.zeros(1, 1, 8, 8, 6))


@pytest.mark.parametrize("shape", [(1, 8, 8, 8), (1, 16, 16, 24), (3, 16, 16, 16)])
def test_the_discriminator_gives_logits_of_any_patch(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = build("ESRGANDiscriminator", {"width": 8}).train()
    logits = network(torch.rand(shape[0], 1, *shape[1:]))
    assert logits.shape == (shape[0], 1, *(edge // 8 for edge in shape[1:]))
    logits.square().sum().backward()
    assert all(one.grad.isfinite().all() for one in network.parameters())


def test_the_discriminator_learns_to_tell_sharp_from_smooth() -> None:
    from core.training.losses import relativistic_discriminator_loss

    torch.manual_seed(0)
    network = build("ESRGANDiscriminator", {"width": 8, "levels": 2}).train()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    losses = []
    for _ in range(25):
        sharp = torch.rand(4, 1, 8, 8, 8)
        loss = relativistic_discriminator_loss(network(sharp), network(torch.nn.functional.avg_pool3d(sharp, 3, 1, 1)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
