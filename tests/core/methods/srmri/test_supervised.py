"""The supervised networks as counted, as methods on reduced slices, and their training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import IsovoxError, WeightsError
from core.geometry.grid import Grid
from core.methods import registry
from core.methods.base import Measured
from core.methods.srmri import mock
from core.methods.srmri.supervised import method as supervised
from core.methods.srmri.supervised.presets import NETWORKS, sizes
from core.methods.srmri.supervised.recipes import FinerAdversarial, discriminator
from core.methods.srmri.supervised.swin import WindowAttention
from core.models.bundle import read_bundle, save_model
from core.models.domain import disagreements, facts_of
from core.models.mock import CARD
from core.networks import build
from core.operators.forward_model import InPlane
from core.settings.train import Training
from core.stats import scan_stats
from core.training.batch import Batch
from core.training.losses import relativistic_generator_loss
from core.training.objectives.perceptual import gradients_apart
from core.training.recipe import Context, Trained
from tests.phantoms import brain

COUNTS = {  # paper, small, and the paper's at a factor of 4
    "srcnn": (8_129, 8_129, 8_129),
    "d-dbpn": (5_940_852, 373_188, 10_413_684),
    "carn": (961_857, 961_857, 1_109_569),
    "swinir": (11_748_093, 153_616, 11_895_805),
    "rcan": (15_442_337, 468_849, 15_590_049),
    "esrgan-2d": (16_697_409, 758_465, 16_695_681),
}


@pytest.mark.parametrize("method", NETWORKS)
def test_they_have_as_many_weights_as_their_authors(method: str) -> None:
    paper, small = sizes(method)["paper"](), sizes(method)["small"]()
    configs = (paper.config, small.config, sizes(method)["paper-x4"]().config)
    with torch.device("meta"):
        counts = [sum(each.numel() for each in build(paper.network, config).parameters()) for config in configs]
    assert tuple(counts) == COUNTS[method]


def test_windows_see_their_own_pixels_and_shifted_ones_no_others_that_were_not_neighbours() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 8, 12, 6, dtype=torch.float64)

    def changed(shift: int, row: int, column: int) -> set[tuple[int, int]]:
        layer = WindowAttention(6, 2, 4, shift).double()
        layer.load_state_dict({name: torch.randn_like(value) for name, value in layer.state_dict().items()})
        other = x.clone()
        other[1, row, column] += 1
        apart = (layer(other) - layer(x)).abs().amax(-1) > 1e-9
        assert not apart[0].any()  # the other picture
        return {(int(r), int(c)) for r, c in apart[1].nonzero()}

    def box(rows: range, columns: range) -> set[tuple[int, int]]:
        return {(r, c) for r in rows for c in columns}

    assert changed(0, 1, 5) == box(range(4), range(4, 8))
    assert changed(2, 3, 5) == box(range(2, 6), range(2, 6))
    assert changed(2, 0, 11) == box(range(2), range(10, 12))  # no window goes round the edge


def test_attention_in_windows_is_the_formula() -> None:
    torch.manual_seed(0)
    layer, x = WindowAttention(4, 2, 2, 0).double(), torch.rand(1, 2, 2, 4, dtype=torch.float64)
    q, k, v = layer.ask(x.reshape(4, 4)).reshape(4, 3, 2, 2).permute(1, 2, 0, 3)
    at = [(0, 0), (0, 1), (1, 0), (1, 1)]
    bias = torch.stack([torch.stack([layer.table[3 * (a - c + 1) + b - d + 1] for c, d in at]) for a, b in at])
    weights = (q @ k.transpose(1, 2) / 2**0.5 + bias.permute(2, 0, 1)).softmax(-1)
    wanted = layer.give((weights @ v).transpose(0, 1).reshape(4, 4))
    torch.testing.assert_close(layer(x).reshape(4, 4), wanted)


@pytest.mark.parametrize("method", NETWORKS)
def test_slices_come_out_twice_as_fine_whatever_their_sides(method: str, tmp_path: Path) -> None:
    mock.write(str(tmp_path), method)
    sharp, _ = brain((17, 23, 4))
    target = Grid(sharp.shape, np.eye(4))
    seen = InPlane(axis="S").degrade(sharp, target, 2, np.random.default_rng(0))
    measured = Measured(seen.image, seen.grid, scan_stats(seen.image), InPlane(axis="S"))
    restorer = registry.build_method(method, {}, str(tmp_path))
    (image,) = restorer.restore([measured], target)
    assert (image.shape, image.dtype) == (target.shape, np.float32)
    assert np.isfinite(image).all()


def test_the_coarse_grid_is_that_of_the_scan_where_it_is_half_as_fine(tmp_path: Path) -> None:
    mock.write(str(tmp_path), "carn")
    target = Grid((16, 20, 4), np.eye(4))
    source = InPlane(axis="S").degraded_grid(target, 2)
    assert registry.build_method("carn", {}, str(tmp_path)).plane_grid(source, target, 2) == source  # type: ignore[attr-defined]


@pytest.mark.parametrize(("name", "axis"), [("R", 0), ("A", 1), ("S", 2)])
@pytest.mark.parametrize("voxels", [(1, 1, 1), (0.9, 0.9, 1.1)])
def test_a_network_that_repeats_pixels_repeats_those_of_the_scans_own_slices(
    name: str, axis: int, voxels: tuple[float, float, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervised, "load_network", lambda *_: lambda x: x.repeat_interleave(2, -1).repeat_interleave(2, -2))
    mock.write(str(tmp_path), "carn")
    sharp, _ = brain((16, 20, 24))
    target, forward = Grid(sharp.shape, np.diag([*voxels, 1])), InPlane(axis=name)
    seen = forward.degrade(sharp, target, axis, np.random.default_rng(0))
    measured = Measured(seen.image, seen.grid, scan_stats(seen.image), forward)
    (image,) = registry.build_method("carn", {}, str(tmp_path)).restore([measured], target)
    wanted = seen.image
    for at in {0, 1, 2} - {axis}:
        wanted = wanted.repeat(2, at)
    np.testing.assert_allclose(image, wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("method", NETWORKS)
def test_a_few_steps_lower_the_loss_and_the_model_is_of_its_method(method: str, tmp_path: Path) -> None:
    recipe = registry.recipe(method)
    torch.manual_seed(0)
    preset = recipe.preset("tiny")
    objective = recipe.stages[0].begin(Context(preset, Training(steps=4)))
    truth = torch.rand((2, 1, 16, 16), generator=torch.Generator().manual_seed(0))
    batch = Batch(torch.nn.functional.avg_pool2d(truth, 2), truth)
    optimizer = objective.optimizer("network", 2e-3)
    losses = []
    for _ in range(9):
        optimizer.zero_grad()
        loss = objective.loss("network", batch, torch.Generator(), 0)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert [objective.pace(done) for done in (0, 0.49, 0.5, 0.74, 0.75, 1)] == [1, 1, 0.5, 0.5, 0.25, 0.25]
    for name in objective.trained:
        assert objective.loss(name, batch, torch.Generator(), 4).isfinite()
    restored = objective.restore(objective.network, batch).detach()
    assert restored.shape == truth.shape
    assert set(objective.figures(batch, restored)) == {"psnr", "psnr_cubic"}
    recipe.write(str(tmp_path), Trained(recipe.networks("tiny"), {"network": objective.network.state_dict()}, "for tests"))
    assert read_bundle(str(tmp_path)).network == NETWORKS[method]


@pytest.mark.parametrize("at_hand", [True, False])
def test_esrgan_weighs_its_parts_as_published(at_hand: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wang et al. 2018: 1e-2 of the absolute error and 5e-3 of the adversarial part beside the perceptual one."""

    def vgg() -> Callable[..., torch.Tensor]:
        if not at_hand:
            raise IsovoxError("lpips-missing", "VGG", "none", "fetch it")
        return Squared()

    monkeypatch.setattr("core.evaluation.metrics.perceptual.vgg", vgg)
    torch.manual_seed(0)
    network = torch.nn.Upsample(scale_factor=2)
    objective = FinerAdversarial(network, discriminator(), warmup=3)
    batch = Batch(torch.rand(2, 1, 16, 16), torch.rand(2, 1, 32, 32))
    restored = network(batch.inputs)
    content, seen = (
        torch.nn.functional.l1_loss(restored, batch.truth),
        [objective.discriminator(x) for x in (batch.truth, restored)],
    )
    felt = (restored - batch.truth).square().mean() if at_hand else 2 * gradients_apart(restored, batch.truth)
    wanted = 0.01 * content + felt + 0.005 * relativistic_generator_loss(*seen)
    torch.testing.assert_close(objective.loss("network", batch, torch.Generator(), 2), content)
    torch.testing.assert_close(objective.loss("network", batch, torch.Generator(), 3), wanted)
    name = "LPIPS" if at_hand else "gradients at three resolutions, in place of LPIPS, whose VGG is not at hand"
    assert objective.about == f"Perceptual term: {name}; it weighs 1 beside 0.01 absolute and 0.005 adversarial"  # so cards say


class Squared(torch.nn.Module):
    """In the place of VGG: of slices in three channels, from 0 to 1."""

    def forward(self, image: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        assert image.shape[1] == 3
        return (image - truth).square().mean()


@pytest.mark.parametrize("scale", [2, 4])
def test_a_scan_of_another_factor_within_its_slices_is_outside_the_domain(scale: int, tmp_path: Path) -> None:
    preset = sizes("carn")["small" if scale == 2 else "small-x4"]()
    save_model(str(tmp_path), preset.network, preset.config, build(preset.network, preset.config).state_dict(), CARD)
    domain = registry.build_method("carn", {}, str(tmp_path)).domain

    def said(factor: float) -> list[str]:
        grid = Grid((20, 40, 20), np.diag([0.9 * factor, 0.9, 0.9 * factor, 1]))
        return disagreements(domain, facts_of(grid, InPlane(axis="A"), voxel_size=0.9))

    assert said(scale) == said(1.02 * scale) == []
    for factor in (1.5, 3, 6 - scale):
        assert said(factor) == [
            f"a factor of {factor} x {factor} within the slices; trained for {0.875 * scale:g} to {1.125 * scale:g}"
        ]


def test_the_network_of_another_method_is_refused(tmp_path: Path) -> None:
    mock.write(str(tmp_path), "carn")
    method = registry.build_method("rcan", {}, str(tmp_path))
    with pytest.raises(WeightsError, match=r"model-unfit: expected a network of rcan: RCAN, but got CARN\. Name another"):
        method.spec  # type: ignore[attr-defined]  # noqa: B018
