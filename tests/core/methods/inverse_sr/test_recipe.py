"""How a prior is trained: examples on its window, both objectives, and a training from images to a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from core.diffusion.schedules import ddim_times
from core.errors import IsovoxError
from core.geometry.grid import Array, Box, Grid
from core.geometry.resample import interpolate
from core.io import readers
from core.methods.inverse_sr import objectives, recipe, windows
from core.methods.inverse_sr.latent import encode
from core.methods.inverse_sr.objectives import Autoencoding, CodeDenoising, gradients_apart
from core.methods.inverse_sr.presets import AUTOENCODER, DENOISER, facts_of, mock
from core.methods.inverse_sr.prior import Prior
from core.methods.inverse_sr.recipe import BRAIN_LDM
from core.networks import build
from core.operators.forward_model import Identity
from core.settings.train import Training
from core.training.batch import Batch
from core.training.data.subjects import Subject
from core.training.events import Event, StepTaken, Validated
from core.training.loop import Trainer
from core.training.recipe import Context, Draw, Trained

MOCK = mock()
FACTS = facts_of(MOCK)
HOW = Training(steps=4, batch=2, validate_every=2, learning_rate=1e-3, warmup=1, ema=0.5)


def atlas() -> tuple[Array, Grid]:
    image, grid, _ = readers.load("nifti", [str(windows.ATLAS)])
    return image, grid


def person(name: str, moved: float = 0.0, reads: Callable[[], None] = lambda: None) -> Subject:
    """The atlas as someone's scan, elsewhere in the world by so many mm and a turn by as many degrees."""
    image, grid = atlas()
    angle = np.deg2rad(moved)
    motion = np.array(
        [[1, 0, 0, moved], [0, np.cos(angle), -np.sin(angle), 0], [0, np.sin(angle), np.cos(angle), 0], [0, 0, 0, 1]]
    )

    def read(box: Box) -> Array:
        reads()
        return image[box.slices]

    covariates = {"sex": "m", "age": 39.0}
    return Subject(
        name, name, Grid(grid.shape, motion @ grid.affine), 255.0, np.ones((5, 6, 5), np.float32), None, read, covariates
    )


def draw(part: str = "train", length: int = 8, patch: int = 24) -> Draw:
    return Draw(part, [person("a"), person("b")], Identity(), patch, 0, length)


# -- examples -----------------------------------------------------------------------------------------------------------------


def test_a_scan_that_lies_elsewhere_is_brought_onto_the_window() -> None:
    image, grid = atlas()
    window = Grid((40, 48, 40), grid.affine)
    there = windows.brought(person("a", moved=6.0), window)
    wanted = interpolate(image, grid, window, 1) / 255
    assert np.corrcoef(there.ravel(), wanted.ravel())[0, 1] > 0.98
    assert there.min() >= 0


def test_a_coarser_window_shows_a_scan_without_aliases() -> None:
    fine = Grid((64, 64, 64), np.eye(4))
    ripples = np.tile(np.array([1.0, 0.0], np.float32), 32)[:, None, None] * np.ones((64, 64, 64), np.float32)
    seen = windows._smoothed(ripples, fine, Grid((16, 16, 16), np.diag([4.0, 4.0, 4.0, 1.0])))
    np.testing.assert_allclose(seen[8:-8], 0.5, atol=0.01)
    assert windows._smoothed(ripples, fine, Grid((64, 64, 64), np.eye(4))) is ripples


def test_an_image_varies_within_bounds_and_the_same_draw_gives_the_same() -> None:
    image = gaussian_filter(np.random.default_rng(0).random((24, 28, 24)).astype(np.float32), 2)
    image = np.pad(image[4:-4, 4:-4, 4:-4], 4)
    each = [windows.varied(image, 3.0, np.random.default_rng(seed)) for seed in (1, 1, 2, 3, 4)]
    assert np.array_equal(each[0], each[1])
    assert not np.array_equal(each[0], each[2])
    assert all(one.dtype == np.float32 and one.shape == image.shape and one.min() >= 0 for one in each)
    for one in each:
        assert one.sum() == pytest.approx(image.sum(), rel=0.3)


def test_a_cube_that_is_varied_is_a_cube_of_the_varied_image() -> None:
    image = gaussian_filter(np.random.default_rng(0).random((18, 20, 16)).astype(np.float32), 1)
    for seed in range(4):
        whole, cube = (windows.varied(image, 3.0, np.random.default_rng(seed), edge) for edge in (None, 14))
        assert cube.shape == (14, 14, 14)
        cubes = np.lib.stride_tricks.sliding_window_view(whole, cube.shape)
        assert np.abs(cubes - cube).max((3, 4, 5)).min() < 1e-5


def test_images_on_the_window_are_made_once_and_told_of_their_person(tmp_path: Path) -> None:
    reads: list[int] = []
    subjects = [person("a", reads=lambda: reads.append(1))]
    examples = windows.Windows(replace(draw(), subjects=subjects), FACTS, str(tmp_path))
    first, again, other = examples[0], examples[0], examples[1]
    assert len(reads) == 1
    assert torch.equal(first.truth, again.truth)
    assert not torch.equal(first.truth, other.truth)
    assert first.truth.shape == (1, *FACTS.grid.shape)
    assert first.conditions[windows.PERSON].tolist() == [1.0, 0.5]


def test_held_images_are_as_they_are_and_crops_are_cut_for_training_alone(tmp_path: Path) -> None:
    held = windows.Windows(draw("validation"), FACTS, str(tmp_path), edge=8)
    assert held[0].truth.shape == (1, *FACTS.grid.shape)
    np.testing.assert_array_equal(held[0].truth[0], windows.brought(person("a"), FACTS.grid))
    assert windows.Windows(draw(), FACTS, str(tmp_path), edge=20)[0].truth.shape == (1, 16, 20, 16)


# -- objectives ---------------------------------------------------------------------------------------------------------------


def batch() -> Batch:
    images = torch.rand((2, 1, *FACTS.grid.shape), generator=torch.Generator().manual_seed(0))
    return Batch(images, images, {windows.PERSON: torch.full((2, 2), 0.5)})


def autoencoding(warmup: int = 0) -> Autoencoding:
    torch.manual_seed(0)
    preset = MOCK[AUTOENCODER]
    return Autoencoding(build(preset.network, preset.config), recipe.discriminator(preset.network), warmup)


def test_the_divergence_of_standard_normal_codes_is_none_and_is_summed_over_a_code() -> None:
    mean = torch.zeros(2, 3, 4, 4, 4)
    assert objectives._divergence(mean, torch.ones_like(mean)) == 0
    assert objectives._divergence(mean + 2, torch.ones_like(mean)).item() == pytest.approx(0.5 * 4 * 3 * 64)


def test_gradients_ignore_a_shift_of_brightness_and_count_an_edge() -> None:
    image = torch.rand((1, 1, 8, 8, 8), generator=torch.Generator().manual_seed(0))
    assert gradients_apart(image + 0.5, image).item() == pytest.approx(0, abs=1e-5)
    edge = torch.zeros(1, 1, 8, 8, 8)
    edge[:, :, 4:] = 1
    assert gradients_apart(edge, torch.zeros_like(edge)).item() == pytest.approx(1 / 7 + 1 / 3 + 1)


def test_lpips_takes_the_place_of_gradients_where_it_is_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    from core.evaluation.metrics import perceptual

    seen, moved = [], []

    class Network(torch.nn.Module):
        def to(self, device: torch.device) -> Network:
            moved.append(device.type)
            return self

        def forward(self, image: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(image.shape))
            assert image.is_meta or all(0 <= each.min() <= each.max() <= 1 for each in (image, truth))  # else LPIPS refuses
            return (image - truth).abs().mean()

    monkeypatch.setattr(perceptual, "vgg", Network)
    name, weight, distance = objectives.perceptual()
    assert (name, weight) == ("LPIPS of slices", 0.002)
    assert distance(torch.full((1, 1, 8, 12, 16), 1.2), torch.full((1, 1, 8, 12, 16), -0.1)) == 1
    assert seen == [(2, 3, 12, 16), (3, 3, 8, 16), (4, 3, 8, 12)]
    distance(*(torch.ones(1, 1, 8, 8, 8, device="meta") for _ in range(2)))
    assert moved == ["cpu", "meta"]
    assert autoencoding(warmup=1).about == "Perceptual term: LPIPS of slices"

    def missing() -> None:
        raise IsovoxError("lpips-missing", "VGG", "none", "fetch it")

    monkeypatch.setattr(perceptual, "vgg", missing)
    assert objectives.perceptual()[0].startswith("gradients at three resolutions, in place of LPIPS")


def test_the_discriminator_joins_after_the_warmup_and_each_module_gets_gradients_of_its_own() -> None:
    objective = autoencoding(warmup=2)
    assert objective.learning(1) == ("network",)
    assert objective.learning(2) == ("network", "discriminator")
    losses = [objective.loss("network", batch(), torch.Generator().manual_seed(1), step) for step in (1, 2)]
    assert losses[1] > losses[0]
    objective.zero_grad()
    objective.loss("discriminator", batch(), torch.Generator().manual_seed(1), 2).backward()
    assert all(one.grad is None for one in objective.network.parameters())
    assert any(one.grad is not None for one in objective.discriminator.parameters())


def test_codes_are_watched_while_the_autoencoder_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.methods.inverse_sr.networks.MOMENTUM", 0.5)
    objective = autoencoding(warmup=10**9)
    for _ in range(20):
        with torch.no_grad():
            objective.loss("network", batch(), torch.Generator().manual_seed(1), 0)
    code = encode(objective.network, batch().inputs)
    torch.testing.assert_close(code.std([0, 2, 3, 4]), torch.ones(2), atol=0.01, rtol=0)


def test_a_step_in_half_precision_gives_a_finite_loss() -> None:
    objective = autoencoding()
    with torch.autocast("cpu", torch.bfloat16):
        for module in objective.trained:
            assert objective.loss(module, batch(), torch.Generator().manual_seed(1), 0).isfinite()


class Known(nn.Module):
    """Tells the noise of codes that are standard normal: eps = sigma z; the conditions are cut off."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(self, code: torch.Tensor, times: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        from core.diffusion.declared import build_schedule

        schedule = build_schedule(recipe.SCHEDULE)
        sigma = torch.tensor([schedule.alpha_sigma(int(t))[1] for t in times])[:, None, None, None, None]
        return code[:, : -context.shape[-1]] * sigma + self.nothing


def test_a_denoiser_that_knows_the_codes_has_the_least_loss_and_samples_like_them() -> None:
    objective = CodeDenoising(Known(), lambda code: code)
    codes = torch.randn((16, 2, 4, 6, 4), generator=torch.Generator().manual_seed(3))
    held = Batch(codes, codes, {windows.PERSON: torch.full((16, 2), 0.5)})
    losses = [float(objective.loss("network", held, torch.Generator().manual_seed(n), 0).detach()) for n in range(20)]
    alphas = [objective.schedule.alpha_sigma(t)[0] ** 2 for t in range(1000)]
    assert np.mean(losses) == pytest.approx(np.mean(alphas), rel=0.15)  # E|eps - sigma z|^2 = alpha^2
    with torch.no_grad():
        sampled = objective.restore(objective.network, held)
    levels = [objective.schedule.alpha_sigma(t) for t in ddim_times(objectives.SHOWN_STEPS)]
    gain = np.prod([a * b + c * d for (a, c), (b, d) in pairwise(levels)])
    assert float(sampled.std()) == pytest.approx(gain, abs=0.05)
    assert not [name for name in objective.state_dict() if "autoencoder" in name]


# -- all of it ----------------------------------------------------------------------------------------------------------------


def trained(tmp_path: Path) -> dict[str, nn.Module]:
    networks: dict[str, nn.Module] = {}
    for stage in BRAIN_LDM.stages:
        context = Context(MOCK[stage.role], HOW, dict(networks), str(tmp_path / stage.role), str(tmp_path / "shared"))
        torch.manual_seed(0)
        pairs = stage.examples(draw(), context)
        held = stage.examples(draw("validation", 2), context)
        trainer = Trainer(stage.begin(context), HOW, pairs, held, str(tmp_path / f"{stage.role}.safetensors"), "cpu")
        events: list[Event] = []
        progress = trainer.run(events.append)
        shown = [event.shown for event in events if isinstance(event, Validated)]
        assert progress.step == HOW.steps
        assert len(shown) == 2
        assert all(one.shape[1:] == (1, *FACTS.grid.shape) for volumes in shown for one in volumes)
        networks[stage.role] = trainer.best
    return networks


@pytest.mark.slow
def test_both_stages_train_and_what_is_written_is_a_prior(tmp_path: Path) -> None:
    networks = trained(tmp_path)
    BRAIN_LDM.write(
        str(tmp_path / "model"), Trained(MOCK, {role: one.state_dict() for role, one in networks.items()}, "# For tests\n")
    )
    prior = Prior.load(str(tmp_path / "model"))
    assert prior.window == FACTS.grid
    assert prior.conditions == FACTS.conditions
    assert prior.mean_image().shape == FACTS.grid.shape
    code = torch.zeros(1, *prior.shape)
    torch.testing.assert_close(
        prior.epsilon(code, 5, torch.ones(1, 2)), Prior.load(prior.folder).epsilon(code, 5, torch.ones(1, 2))
    )
    assert (tmp_path / DENOISER / "train" / "0000000.safetensors").exists()  # codes, once


@pytest.mark.slow  # of all trainings: tests/core/training
def test_a_training_that_goes_on_ends_with_the_same_bytes(tmp_path: Path) -> None:
    stage = BRAIN_LDM.stages[0]

    def trainer(name: str, how: Training) -> Trainer:
        context = Context(MOCK[AUTOENCODER], HOW, {}, str(tmp_path / "made"), str(tmp_path / "shared"))
        torch.manual_seed(0)
        examples = stage.examples(draw(), context), stage.examples(draw("validation", 2), context)
        return Trainer(stage.begin(context), how, *examples, str(tmp_path / name), "cpu")

    def stop(event: Event) -> None:
        if event == StepTaken(3):
            raise KeyboardInterrupt

    trainer("whole", HOW).run()
    part = trainer("part", HOW)
    part.settings = HOW.model_copy(update={"checkpoint_minutes": 0.0})
    with pytest.raises(KeyboardInterrupt):
        part.run(stop)
    again = trainer("part", HOW)
    assert again.progress.step == 2
    again.run()
    assert (tmp_path / "part").read_bytes() == (tmp_path / "whole").read_bytes()
