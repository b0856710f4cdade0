"""Sizes of the networks are those of the paper, and what goes in comes out finer, as large, or as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from core.methods.latent_zoom import presets
from core.methods.latent_zoom.cost import cost_of, counted
from core.methods.latent_zoom.method import LatentZoom
from core.methods.latent_zoom.networks import EDSR, SRGAN, WDSR, PatchDiscriminator, SliceAutoencoder, SRGANDiscriminator
from core.methods.latent_zoom.presets import AUTOENCODER, DEBLUR, DENOISER
from core.networks import build
from core.networks.preset import Preset


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


PAPER: dict[str, tuple[Preset, int]] = {
    "VQ-f4": (presets.paper()[AUTOENCODER], 55_322_782),
    "U-Net": (presets.paper()[DENOISER], 113_622_563),
    "EDSR": (presets.paper()[DEBLUR], 1_222_147),
    "WDSR-B": (presets.wdsr("paper"), 615_088),
    "SRGAN": (presets.srgan("paper"), 1_550_659),
    "autoencoder of slices": (presets.slices("paper"), 443_777),
}


@pytest.mark.parametrize("name", PAPER)
def test_a_paper_preset_has_the_count_of_parameters_that_was_counted_in_the_code(name: str) -> None:
    preset, expected = PAPER[name]
    with torch.device("meta"):
        assert count(build(preset.network, preset.config)) == expected


def test_discriminators_have_the_counts_that_were_counted_in_the_code() -> None:
    with torch.device("meta"):
        assert count(SRGANDiscriminator(**presets.srgan_discriminator(presets.srgan("paper")))) == 23_565_505
        assert count(PatchDiscriminator(3, 64, 3)) == 2_765_633


@pytest.mark.parametrize(("size", "low", "high"), [("small", 5e6, 8e6), ("tiny", 1e6, 2.3e6)])
def test_own_presets_are_small_in_all_and_sharpen_cheaply(size: str, low: float, high: float) -> None:
    networks = {"small": presets.small, "tiny": presets.tiny}[size]()
    with torch.device("meta"):
        counts = {role: count(build(preset.network, preset.config)) for role, preset in networks.items()}
    assert low < sum(counts.values()) < high
    assert counts[DEBLUR] < 0.05e6
    assert all(preset.patch % preset.multiple == 0 for preset in networks.values())


@pytest.mark.parametrize("network", [SRGAN(1, 4, 1), WDSR(1, 5, 1), SRGAN(3, 4, 1)])
def test_finer_networks_make_rows_and_columns_four_times_finer(network: nn.Module) -> None:
    channels = 3 if isinstance(network, SRGAN) and network.head[0].in_channels == 3 else 1
    assert network.eval()(torch.rand(2, channels, 8, 12)).shape == (2, channels, 32, 48)


def test_a_residual_edsr_begins_as_the_identity_and_the_papers_does_not() -> None:
    image = torch.rand(1, 1, 9, 7)
    assert torch.equal(EDSR(1, 4, 2, residual=True)(image), image)
    assert not torch.allclose(EDSR(1, 4, 2)(image), image, atol=0.01)


@pytest.mark.parametrize("sides", [(8, 12), (64, 32)])
def test_the_autoencoder_of_slices_keeps_the_size_in_spite_of_its_padding(sides: tuple[int, int]) -> None:
    network = SliceAutoencoder(2, 3).eval()
    codes = network.encode(torch.rand(1, 1, *sides))
    assert codes.shape == (1, 3, sides[0] // 4, sides[1] // 4)
    assert network.decode(codes).shape == (1, 1, *sides)


def test_last_normalisation_of_srgan_forgets_more_slowly() -> None:
    momenta = {layer.momentum for layer in SRGAN(1, 4, 2).modules() if isinstance(layer, nn.BatchNorm2d)}
    assert momenta == {0.2, 0.01}


def test_the_work_of_the_papers_networks_is_what_was_counted_and_grows_in_a_line() -> None:
    """A step of the U-Net 0.08, decoder 0.67, EDSR 0.16 TFLOP a slice; n more slices cost n times the last two, whatever n."""
    cost = cost_of(presets.paper(), 256, 256)
    assert [each / 1e12 for each in (cost.step, cost.decoder, cost.deblur)] == pytest.approx([0.0805, 0.671, 0.160], rel=0.01)
    assert cost.flops(155, 10, 200) / 1e15 == pytest.approx(3.9, rel=0.01)
    odd = cost_of(presets.paper(), 240, 240)  # whose codes of 60 x 60 the U-Net sees as 64 x 64
    assert (odd.step, odd.decoder < cost.decoder) == (cost.step, True)
    assert cost.flops(155, 10, 20) / 1e15 == pytest.approx(1.66, rel=0.01)
    many = 10_000  # slices, whose last one no longer matters
    assert cost.flops(many, 10, 200) / cost.flops(many, 2, 200) == pytest.approx(1.36, abs=0.02)
    assert {cost.flops(9, n + 1, 5) - cost.flops(9, n, 5) for n in range(5)} == {8 * cost.added}
    assert cost.peak < LatentZoom.bytes_per_tile_voxel * LatentZoom.thickness * 256**2  # what the plan reckons with
    assert cost.weights == 4 * (55_322_782 + 113_622_563 + 1_222_147)


def test_what_lives_at_once_is_counted_at_its_peak() -> None:
    given = torch.empty(10, 100, device="meta")

    def run() -> torch.Tensor:
        doubled = given * 2
        more = doubled + 1
        del doubled
        view = more.reshape(100, 10)
        return (view + 1).T @ view  # more, their sum and 10 x 10

    assert counted(run) == (2 * 10 * 10 * 100, 4 * (1000 + 1000 + 100))
