"""Every preset is a network of the size it says, whole, alive and the same from run to run."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from core.errors import UsageError
from core.methods import registry
from core.models.bundle import save_model
from core.models.cache import load_network
from core.networks import build
from core.networks.preset import Preset

PAPER = {  # millions, tables 1 and 2 of Kim et al. 2023; the base is what the published code has
    "unet-3d": 48.8,
    "resunet-3d": 37.2,
    "esrgan-3d": 28.7,
    "diffusion-iqt": 15.19,
    "diffusion-iqt-deep": 13.61,
    "diffusion-iqt-base": 9.94,
}
METHODS = sorted(PAPER)  # recipes of several networks, or of inputs of their own, are tested with their families
SIZES = {"small": (0.6e6, 2.1e6), "tiny": (20e3, 150e3)}


def preset(method: str, size: str) -> Preset:
    return registry.recipe(method).preset(size)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def made(chosen: Preset) -> nn.Module:
    torch.manual_seed(0)
    return build(chosen.network, chosen.config)


def applied(network: nn.Module, chosen: Preset, edge: int) -> Tensor:
    """The network on a batch of noise."""
    draw = torch.Generator().manual_seed(1)
    images = torch.rand(2, chosen.neighbours, 1, edge, edge, edge, generator=draw)
    return network(*images, torch.full((chosen.neighbours,), 0.7)) if chosen.network == "DiffusionIQT" else network(images[0])


@pytest.mark.parametrize("method", METHODS)
def test_paper_presets_have_the_published_count_of_parameters(method: str) -> None:
    chosen = preset(method, "paper")
    with torch.device("meta"):
        counted = count(build(chosen.network, chosen.config)) / 1e6
    assert counted == pytest.approx(PAPER[method], rel=0.01)
    if chosen.network == "DiffusionIQT":
        assert round(counted, 2) == PAPER[method]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", METHODS)
def test_small_presets_are_small(method: str, size: str) -> None:
    chosen = preset(method, size)
    low, high = SIZES[size]
    assert low < count(made(chosen)) < high
    assert chosen.patch % chosen.multiple == 0
    assert chosen.block == chosen.patch * (3 if chosen.neighbours == 27 else 1)


@pytest.mark.parametrize("method", METHODS)
def test_a_network_is_finite_and_the_same_from_run_to_run(method: str) -> None:
    chosen = preset(method, "tiny")
    edge = chosen.multiple
    one, other = (applied(made(chosen), chosen, edge) for _ in range(2))
    assert one.shape == (chosen.neighbours, 1, edge, edge, edge)
    assert one.isfinite().all()
    assert one.std() > 0
    assert torch.equal(one, other)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", METHODS)
def test_no_parameter_is_dead(method: str, size: str) -> None:
    chosen = preset(method, size)
    network = made(chosen).train()
    applied(network, chosen, chosen.multiple).square().sum().backward()
    dead = [name for name, one in network.named_parameters() if one.grad is None or not one.grad.any()]
    assert not dead
    assert all(one.grad.isfinite().all() for one in network.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_weights_survive_a_file(method: str, tmp_path) -> None:
    chosen = preset(method, "tiny")
    network = made(chosen)
    spec = save_model(str(tmp_path), chosen.network, chosen.config, network.state_dict(), "card", multiple=chosen.multiple)
    again = load_network(str(tmp_path), spec, "cpu")
    with torch.no_grad():
        assert torch.equal(applied(again, chosen, chosen.multiple), applied(network, chosen, chosen.multiple))


@pytest.mark.parametrize("method", ["resunet-3d", "unet-3d", "esrgan-3d"])
def test_a_voxel_far_away_changes_nothing(method: str) -> None:
    """No statistics of the patch: the answer at a voxel depends on its neighbourhood alone."""
    network = made(preset(method, "tiny"))
    image = torch.rand(1, 1, 16, 16, 256, generator=torch.Generator().manual_seed(2))
    other = image.clone()
    other[..., -16:] *= 5
    with torch.no_grad():
        one, two = network(image), network(other)
    torch.testing.assert_close(one[..., :16], two[..., :16], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(one[..., -16:], two[..., -16:], atol=1e-3)


@pytest.mark.parametrize(("method", "size"), [("unet-3d", "huge"), ("diffusion-iqt", "")])
def test_a_preset_that_there_is_not_is_refused(method: str, size: str) -> None:
    with pytest.raises(
        UsageError, match=rf"preset-unknown: expected a size of {method}: paper, small, tiny, but got {size}\. Choose one"
    ):
        preset(method, size)
