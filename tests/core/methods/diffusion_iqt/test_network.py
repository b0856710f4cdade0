"""DiffusionIQT: its parts by their definitions, and what cross-batch means."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from core.errors import RestorationError
from core.methods.diffusion_iqt.cross_batch import merge, split
from core.methods.diffusion_iqt.network import Conv, CrossBatchAttention, DiffusionIQT, LogSnrEmbedding, Up, linear_attention

TINY = {"base": 4, "groups": 2, "heads": 2, "head_width": 4, "blocks": 1}
EDGE = 8


def network(**how: object) -> DiffusionIQT:
    torch.manual_seed(0)
    return DiffusionIQT(**(TINY | how)).eval()


def given(count: int) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    x, scan = torch.rand(2, count, 1, EDGE, EDGE, EDGE, generator=draw)
    return x, scan, torch.full((count,), 0.5)


@torch.no_grad()
def reached(model: DiffusionIQT, patch: int) -> list[int]:
    """Patches whose answer changes with one voxel of the scan in a patch."""
    x, scan, log_snr = given(27)
    other = scan.clone()
    other[patch, 0, 4, 4, 4] += 1
    return (model(x, scan, log_snr) - model(x, other, log_snr)).abs().flatten(1).amax(1).nonzero().flatten().tolist()


def test_with_cross_batch_every_patch_sees_all_its_block() -> None:
    assert reached(network(cross_batch=True), 0) == list(range(27))


def test_without_cross_batch_a_patch_stands_alone() -> None:
    assert reached(network(cross_batch=False), 5) == [5]


def test_blocks_of_one_batch_do_not_see_each_other() -> None:
    model = network(cross_batch=True)
    x, scan, log_snr = given(54)
    with torch.no_grad():
        both, first = model(x, scan, log_snr), model(x[:27], scan[:27], log_snr[:27])
    torch.testing.assert_close(both[:27], first, rtol=1e-4, atol=1e-5)


def test_cross_batch_padding_is_convolving_the_merged_block() -> None:
    torch.manual_seed(0)
    alone, shared = Conv(3, 2, cross_batch=False), Conv(3, 2, cross_batch=True)
    shared.load_state_dict(alone.state_dict())
    x = torch.randn(27, 3, 4, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(shared(x), split(alone(merge(x))))
        assert not torch.allclose(shared(x), alone(x), atol=1e-3)


def test_linear_attention_is_attention_with_the_product_of_two_softmaxes() -> None:
    draw = torch.Generator().manual_seed(0)
    queries, keys, values = torch.randn(3, 2, 3, 5, 7, generator=draw, dtype=torch.float64)
    weights = queries.softmax(2).transpose(2, 3) @ keys.softmax(3) / 5**0.5  # (n, heads, tokens, tokens)
    wanted = (weights @ values.transpose(2, 3)).transpose(2, 3)
    torch.testing.assert_close(linear_attention(queries, keys, values), wanted)


def test_linear_attention_of_alike_values_is_these_by_the_scale() -> None:
    queries, keys = torch.randn(2, 1, 2, 4, 6)
    torch.testing.assert_close(linear_attention(queries, keys, torch.full((1, 2, 4, 6), 3.0)), torch.full((1, 2, 4, 6), 1.5))


def test_attention_keeps_the_grid_of_the_block() -> None:
    with torch.no_grad():
        assert CrossBatchAttention(4, 2, 2, 4)(torch.rand(1, 4, 12, 6, 8)).shape == (1, 4, 12, 6, 8)


def test_the_embedding_has_the_log_snr_and_its_waves() -> None:
    embedding = LogSnrEmbedding(6)
    seen: list[Tensor] = []
    embedding.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    log_snr = torch.tensor([-3.0, 0.0, 2.0])
    assert embedding(log_snr).shape == (3, 6)
    angles = 2 * torch.pi * log_snr[:, None] * embedding.frequencies
    torch.testing.assert_close(seen[0], torch.cat([log_snr[:, None], angles.sin(), angles.cos()], 1))
    assert seen[0].shape == (3, 17)


def test_going_up_begins_without_a_checkerboard() -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        fine = Up(6, 2)(torch.randn(1, 6, 3, 3, 3))
    cells = fine.unfold(2, 2, 2).unfold(3, 2, 2).unfold(4, 2, 2).flatten(5)
    torch.testing.assert_close(cells, cells[..., :1].expand_as(cells))


def test_noise_level_and_scan_and_skips_matter() -> None:
    model, (x, scan, log_snr) = network(cross_batch=False), given(1)
    with torch.no_grad():
        answer = model(x, scan, log_snr)
        for other in (model(x, scan, log_snr + 3), model(x, scan + x, log_snr), model(scan, scan, log_snr)):
            assert (answer - other).abs().max() > 1e-4
        plain = network(cross_batch=False, skip_scale=1.0)
        plain.load_state_dict(model.state_dict())
        assert (answer - plain(x, scan, log_snr)).abs().max() > 1e-4


def test_each_patch_has_its_own_noise_level() -> None:
    model, (x, scan, _) = network(cross_batch=False), given(2)
    with torch.no_grad():
        both = model(x, scan, torch.tensor([-4.0, 4.0]))
        apart = [model(x[[i]], scan[[i]], torch.tensor([level])) for i, level in enumerate((-4.0, 4.0))]
    torch.testing.assert_close(both, torch.cat(apart), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(12, 12, 12), (4, 8, 16)])
def test_alone_a_patch_may_have_edges_of_multiples_of_four(size: tuple[int, ...]) -> None:
    x = torch.rand(1, 1, *size)
    with torch.no_grad():
        assert network(cross_batch=False)(x, x, torch.zeros(1)).shape == x.shape


def test_it_learns_to_repeat_the_scan() -> None:
    model = network(cross_batch=False).train()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    x, scan, log_snr = given(1)
    losses = []
    for _ in range(25):
        loss = nn.functional.mse_loss(model(x, scan, log_snr), scan)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]


def test_what_does_not_fit_is_refused() -> None:
    x, scan, log_snr = given(4)
    with pytest.raises(RestorationError, match=r"neighbours-incomplete: expected patches in multiples of 27, but got 4"):
        network(cross_batch=True)(x, scan, log_snr)
    with pytest.raises(RestorationError, match=r"shapes-differ: expected x and scan of one shape, a log-SNR a patch, but got"):
        network()(x, scan, log_snr[:1])
    with pytest.raises(RestorationError, match="shapes-differ"):
        network()(x, scan[:3], log_snr)
