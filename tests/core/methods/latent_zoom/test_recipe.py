"""How the systems are trained: examples by number, objectives that can be seen through, each recipe from images to a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.diffusion.declared import build_schedule
from core.diffusion.predictions import Denoise, Prediction, v_from_x0
from core.diffusion.schedules import Schedule
from core.geometry.grid import Array, Box, Grid
from core.methods import registry
from core.methods.latent_zoom import examples, latent, mock, presets, recipe
from core.methods.latent_zoom.examples import ABOVE, COARSE, SHARE, Slices, share
from core.methods.latent_zoom.objectives import CodeDenoising, Middling, Quantising
from core.methods.latent_zoom.presets import AUTOENCODER, DEBLUR, DENOISER
from core.models.bundle import NETWORK, read_bundle
from core.networks import build
from core.networks.preset import Preset
from core.operators.forward_model import Identity
from core.settings.train import Training
from core.training.batch import Batch
from core.training.data.subjects import CELL, Subject
from core.training.loop import Trainer
from core.training.objectives.perceptual import gradients_apart
from core.training.recipe import Context, Draw, Recipe, Trained

HOW = Training(steps=2, batch=2, validate_every=2, learning_rate=1e-3, warmup=1, ema=0.5)
EDGE = 48
RECIPES = {
    "latent-zoom": recipe.LATENT_ZOOM,
    "bicubic-ae": recipe.BICUBIC_AE,
    "srgan-si": recipe.SRGAN_SI,
    "wdsr-si": recipe.WDSR_SI,
}


def person(name: str) -> Subject:
    grid = Grid((EDGE, EDGE, EDGE), np.eye(4))
    where = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in grid.shape), indexing="ij"))
    image = (100 * np.exp(-2 * (where**2).sum(axis=0)) + 10 * np.sin(9 * where.sum(axis=0))).clip(0).astype(np.float32)

    def read(box: Box) -> Array:
        return image[box.slices]

    return Subject(name, name, grid, 100.0, np.ones((EDGE // CELL,) * 3, np.float32), None, read)


def draw(part: str = "train", length: int = 8, patch: int = 32, persons: int = 1) -> Draw:
    return Draw(part, [person(f"{n:02d}") for n in range(persons)], Identity(), patch, 0, length)


# -- examples -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", [examples.alone, examples.coarse, examples.between])
def test_the_same_number_gives_the_same_example(example) -> None:
    first, again = Slices(draw(), example), Slices(draw(), example)
    assert torch.equal(first[3].truth, again[3].truth)
    assert torch.equal(first[3].inputs, again[3].inputs)
    assert not torch.equal(first[3].truth, first[4].truth)
    assert first[3].truth.shape == (1, 32, 32)


def test_the_middle_slice_lies_between_its_neighbours() -> None:
    for index in range(12):
        example = Slices(draw(), examples.between)[index]
        mean = (example.inputs + example.conditions[ABOVE]) / 2
        assert (mean - example.truth).abs().mean() < 0.06
        assert not torch.equal(example.inputs, example.conditions[ABOVE])


def test_a_slice_between_two_lies_at_its_share_of_the_way() -> None:
    """Of an image that rises in a line along all axes it is that lerp exactly, at shares of gaps of 2 to 6."""
    places = np.stack(np.meshgrid(*(np.arange(EDGE),) * 3, indexing="ij")).sum(axis=0).astype(np.float32)
    rising = replace(draw(), subjects=[replace(person("01"), upper=3.0 * EDGE, read=lambda box: places[box.slices])])
    shares = set()
    for index in range(24):
        example = Slices(rising, examples.at_share, examples.anywhere)[index]
        share = float(example.conditions[SHARE])
        shares.add(round(share, 3))
        between = (1 - share) * example.inputs + share * example.conditions[ABOVE]
        torch.testing.assert_close(between, example.truth, atol=1e-5, rtol=0)
    assert len(shares) > 4
    assert shares <= {round(below / gap, 3) for gap in range(2, 7) for below in range(1, gap)}


def test_what_sharpens_learns_of_slices_and_of_those_between_two() -> None:
    made = [Slices(draw(), examples.coarse_pair)[index] for index in range(12)]
    alone = [example for example in made if float(example.conditions[SHARE]) == 0]
    assert 2 < len(alone) < 10
    assert all(example.inputs.shape == (2, 8, 8) and example.truth.shape == (1, 32, 32) for example in made)


def test_crops_are_never_enlarged() -> None:
    """A pattern of period 2 survives, which any resizing would blur."""
    subject = person("01")
    stripes = np.zeros((EDGE, EDGE, EDGE), np.float32)
    stripes[::2, ::2, ::2] = 100
    striped = replace(draw(), subjects=[replace(subject, read=lambda box: stripes[box.slices])])
    values = torch.cat([Slices(striped, examples.alone)[index].truth.unique() for index in range(8)])
    assert set(values.tolist()) <= {-1.0, 1.0}


def test_persons_are_parted_between_the_diffusion_model_and_what_sharpens() -> None:
    first, last = share(draw(persons=11), last=False), share(draw(persons=11), last=True)
    names = [{subject.name for subject in part.subjects} for part in (first, last)]
    assert not names[0] & names[1]
    assert len(names[0] | names[1]) == 11
    assert len(names[1]) == 2
    assert len(share(draw("validation", persons=3), last=True).subjects) == 3


def context(name: str, folder: Path, role: str, earlier: dict[str, nn.Module]) -> Context:
    sizes = networks(name)
    return Context(sizes[role], HOW, earlier, str(folder / role), str(folder / "shared"), presets=sizes)


def networks(name: str) -> dict[str, Preset]:
    return mocked("v") if name == "latent-zoom" else {NETWORK: mock.SYSTEMS[name]}


def mocked(prediction: Prediction) -> dict[str, Preset]:
    sizes = presets.mock()
    return sizes | {DENOISER: replace(sizes[DENOISER], prediction=prediction)}


def test_codes_are_kept_and_their_coarse_slices_are_degraded_anew(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vq = recipe.LATENT_ZOOM.stages[0].begin(context("latent-zoom", tmp_path, AUTOENCODER, {})).network
    coded = recipe.coded(draw(), context("latent-zoom", tmp_path, "denoiser", {AUTOENCODER: vq}))
    coded.distinct = coded.codes.distinct = 2
    first, later = coded[0], coded[2]
    assert torch.equal(first.truth, later.truth)
    assert first.truth.shape == (3, 8, 8)
    assert first.conditions[COARSE].shape == (1, 8, 8)
    assert not torch.equal(first.conditions[COARSE], later.conditions[COARSE])
    kept = sorted((tmp_path / "denoiser").rglob("*.safetensors"))
    assert len(kept) == 1


# -- objectives ---------------------------------------------------------------------------------------------------------------


def test_gradients_are_none_between_images_that_differ_by_a_constant() -> None:
    image = torch.rand(1, 1, 16, 16, dtype=torch.float64)
    assert float(gradients_apart(image, image + 3)) < 1e-12
    ramp = torch.arange(16.0)[None, None, :, None].expand(1, 1, 16, 16)
    assert float(gradients_apart(ramp, torch.zeros_like(ramp))) == pytest.approx(1 + 2 + 4)


def test_lpips_goes_where_the_slices_are_and_the_objective_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1), requires_grad=False)

        def forward(self, image: Tensor, truth: Tensor) -> Tensor:
            assert image.shape[1] == 3
            return self.weight * (image - truth).abs().mean()

    monkeypatch.setattr("core.evaluation.metrics.perceptual.vgg", Weighted)
    objective = Middling(build("SliceAutoencoder", mock.SYSTEMS["bicubic-ae"].config))
    assert objective.about == "Perceptual term: LPIPS"
    assert objective._distance(torch.ones(1, 1, 8, 8), -torch.ones(1, 1, 8, 8)) == 1
    there = torch.empty(1, 1, 8, 8, device="meta")
    assert objective._distance(there, there).device.type == "meta"  # of weights left elsewhere torch refuses
    assert not [name for name, _ in objective.named_parameters() if not name.startswith("network.")]  # VGG does not learn


def test_the_codebook_takes_part_after_the_plain_steps_and_then_holds_codes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    objective = recipe.LATENT_ZOOM.stages[0].begin(context("latent-zoom", tmp_path, AUTOENCODER, {}))
    assert isinstance(objective, Quantising)
    objective.plain, objective.warmup = 1, 9
    images = Slices(draw(), examples.alone)
    batch = Batch(images[0].truth[None], images[0].truth[None])
    entries = latent.codebook(objective.network)
    begun = entries.detach().clone()
    objective.loss("network", batch, torch.Generator(), 0).backward()
    assert entries.grad is None
    assert torch.equal(entries, begun)
    objective.loss("network", batch, torch.Generator(), 1).backward()
    assert entries.grad is not None
    places = latent.encode(objective.network, batch.truth).movedim(1, -1).reshape(-1, 3)
    assert torch.cdist(entries.detach(), places.detach()).min(1).values.max() < 1e-3


def test_processes_that_train_together_take_the_first_ones_codes_for_their_codebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = recipe.LATENT_ZOOM.stages[0].begin(context("latent-zoom", tmp_path, AUTOENCODER, {}))
    assert isinstance(objective, Quantising)
    objective.plain = 1
    entries = latent.codebook(objective.network)
    of_the_first = torch.full_like(entries, 0.25)
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.broadcast", lambda tensor, source: tensor.copy_(of_the_first + source))
    image = Slices(draw(), examples.alone)[0].truth[None]
    objective.loss("network", Batch(image, image), torch.Generator(), 1)
    assert torch.equal(entries.detach(), of_the_first)


class _Velocity(nn.Module):
    """Knows the codes, and tells their velocity; ``config`` as diffusers' U-Nets have it."""

    config = SimpleNamespace(in_channels=4, block_out_channels=(1,))

    def __init__(self, codes: Tensor) -> None:
        super().__init__()
        self.codes, self.schedule = codes, build_schedule(presets.SCHEDULE)

    def forward(self, shown: Tensor, t: Tensor) -> SimpleNamespace:
        level = self.schedule.alpha_sigma(float(t[0]))
        return SimpleNamespace(sample=v_from_x0(shown[:, :3], self.codes, level))


def test_small_presets_learn_the_velocity_and_samples_and_the_model_hear_of_it() -> None:
    codes, seen = torch.randn(1, 3, 4, 4), torch.zeros(1, 1, 4, 4)
    network = _Velocity(codes)
    objective, batch = CodeDenoising(network, "v"), Batch(codes, codes, {COARSE: seen})
    assert float(objective.loss("network", batch, torch.Generator(), 0)) < 1e-8
    torch.testing.assert_close(objective.restore(network, batch), codes, atol=1e-4, rtol=0)
    denoise = latent.denoiser(network, seen, network.schedule, "v")
    torch.testing.assert_close(denoise(torch.randn(1, 3, 4, 4), 999.0), codes, atol=1e-4, rtol=0)
    sizes = {name: size() for name, size in recipe.LATENT_ZOOM.presets.items()}
    assert {name: size[DENOISER].prediction for name, size in sizes.items()} == {"paper": "eps", "small": "v", "tiny": "v"}


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_what_the_denoiser_tells_is_what_its_size_says_whatever_its_channels(
    prediction: Prediction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, asked = mocked(prediction), []
    networks = {role: build(size.network, size.config) for role, size in sizes.items()}
    assert networks[DENOISER].config.in_channels == 4
    begun = recipe.LATENT_ZOOM.stages[1].begin(Context(sizes[DENOISER], HOW, presets=sizes))
    denoiser = latent.denoiser

    def asking(network: nn.Module, shown: Tensor, schedule: Schedule, predicts: Prediction) -> Denoise:
        asked.append(predicts)
        return denoiser(network, shown, schedule, predicts)

    monkeypatch.setattr(latent, "denoiser", asking)
    recipe.blurred(draw(persons=2), Context(sizes[DEBLUR], HOW, networks, str(tmp_path / "made"), presets=sizes))[0]
    recipe.write(
        str(tmp_path / "model"), Trained(sizes, {role: net.state_dict() for role, net in networks.items()}, "# For tests\n")
    )
    assert begun.predicts == prediction
    assert set(asked) == {prediction}
    assert read_bundle(str(tmp_path / "model")).prediction == prediction


class _Linear(nn.Module):
    """A linear autoencoder without loss."""

    def encode(self, image: Tensor) -> Tensor:
        return nn.functional.pixel_unshuffle(image, 4)

    def decode(self, code: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(code, 4)


def test_the_middle_of_linear_codes_is_the_mean_of_the_slices_and_costs_what_that_misses() -> None:
    below, above = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8)
    objective, mean = Middling(_Linear()), (below + above) / 2
    exact = Batch(below, mean, {ABOVE: above})
    torch.testing.assert_close(objective.restore(objective.network, exact), mean)
    assert float(objective.loss("network", exact, torch.Generator(), 0)) < 1e-6
    apart = Batch(below, torch.zeros_like(mean), {ABOVE: above})
    assert float(objective.loss("network", apart, torch.Generator(), 0)) > 0.01


# -- from images to a model ---------------------------------------------------------------------------------------------------


def trained(name: str, how: Recipe, folder: Path) -> Trained:
    weights, earlier = {}, {}
    for stage in how.stages:
        torch.manual_seed(0)
        where = context(name, folder, stage.role, dict(earlier))
        parts = [stage.examples(draw(part, length), where) for part, length in (("train", 4), ("validation", 2))]
        trainer = Trainer(stage.begin(where), HOW, *parts, str(folder / f"{stage.role}.checkpoint"), "cpu")
        assert trainer.run().step == HOW.steps
        weights[stage.role] = trainer.best.state_dict()
        earlier[stage.role] = trainer.best
    return Trained(networks(name), weights, "# For tests\n")


@pytest.mark.parametrize("name", [pytest.param("latent-zoom", marks=pytest.mark.slow), "bicubic-ae", "srgan-si", "wdsr-si"])
def test_a_recipe_leads_from_images_to_a_model_of_its_method_and_the_same_twice(name: str, tmp_path: Path) -> None:
    both = [trained(name, RECIPES[name], tmp_path / again) for again in ("a", "b")]
    for role, tensors in both[0].weights.items():
        assert all(torch.equal(tensor, both[1].weights[role][key]) for key, tensor in tensors.items())
    RECIPES[name].write(str(tmp_path / "model"), both[0])
    method = registry.build_method(name, {}, str(tmp_path / "model"))
    assert set(method.roles) <= set(method.bundle.parts)
    assert method.bundle.prediction == ("v" if name == "latent-zoom" else None)
    entry = registry.recipe_entry(name)
    assert tuple(RECIPES[name].presets) == entry.presets
    assert [stage.role for stage in RECIPES[name].stages] == list(RECIPES[name].networks("tiny"))
