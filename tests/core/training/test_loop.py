"""The loop: it learns, resumes to the same bytes, keeps the best, stops when told, and shares its batches among processes."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from core.errors import RestorationError, UsageError, WeightsError
from core.methods import registry
from core.settings.train import Training
from core.training.batch import Batch
from core.training.events import Event, StepTaken, Tell, Validated
from core.training.loop import Trainer
from core.training.objectives.adversarial import Adversarial
from core.training.objectives.regression import Regression
from core.training.recipe import Context


class Blurred(Dataset):
    """Noise, and the same under a fixed blur, by number."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Batch:
        truth = torch.rand((1, 8, 8, 8), generator=torch.Generator().manual_seed(index))
        return Batch(nn.functional.avg_pool3d(truth, 3, 1, 1), truth)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 8, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv3d(8, 1, 3, padding=1))


def trainer(where, objective=None, **changed) -> Trainer:
    wanted = {"steps": 60, "batch": 2, "validate_every": 20, "learning_rate": 1e-2, "warmup": 5, "ema": 0.9} | changed
    settings = Training(**wanted)
    pairs = Blurred(settings.steps * settings.batch * settings.accumulate)
    return Trainer(objective or Regression(network()), settings, pairs, Blurred(4), str(where), "cpu")


class KilledError(Exception):
    """In place of kill -9."""


def stop_at(step: int) -> Tell:
    def seen(event: Event) -> None:
        if event == StepTaken(step):
            raise KilledError

    return seen


def state(one: Trainer) -> dict[str, torch.Tensor]:
    return {f"{name}.{key}": value for name, module in one._modules().items() for key, value in module.state_dict().items()}


def test_it_learns_to_undo_a_blur(tmp_path):
    done = trainer(tmp_path / "c").run()
    assert done.step == 60
    assert done.best > done.history[0]["psnr_cubic"] + 1
    assert done.history[-1]["loss"] < done.history[0]["loss"]


@pytest.mark.parametrize("kind", ["regression", "adversarial"])
@pytest.mark.parametrize("killed", [21, 39, 45])
def test_a_killed_training_resumes_to_the_same_bytes(tmp_path, kind, killed):
    def objective():
        if kind == "regression":
            return Regression(network())
        made = network()
        return Adversarial(made, nn.Sequential(nn.Conv3d(1, 4, 3), nn.LeakyReLU(0.2), nn.Conv3d(4, 1, 3)), warmup=30)

    whole = trainer(tmp_path / "whole", objective(), steps=50, accumulate=2)
    whole.run()
    first = trainer(tmp_path / "killed", objective(), steps=50, accumulate=2, checkpoint_minutes=0)
    with pytest.raises(KilledError):
        first.run(stop_at(killed))
    second = trainer(tmp_path / "killed", objective(), steps=50, accumulate=2)
    assert 0 < second.progress.step <= killed
    second.run()
    assert second.progress.history == whole.progress.history
    assert all(torch.equal(value, state(whole)[name]) for name, value in state(second).items())
    assert (tmp_path / "killed").read_bytes() == (tmp_path / "whole").read_bytes()


def test_two_batches_whose_gradients_are_summed_are_one_of_twice_the_size(tmp_path):
    together = trainer(tmp_path / "a", batch=4, accumulate=1, steps=5)
    apart = trainer(tmp_path / "b", batch=2, accumulate=2, steps=5)
    together.run()
    apart.run()
    for name, value in apart.objective.state_dict().items():
        torch.testing.assert_close(value, together.objective.state_dict()[name], rtol=1e-3, atol=1e-5)


def test_the_average_follows_the_weights_with_the_decay_that_was_set(tmp_path):
    """By its definition; the decay is less in the first steps, so that the weights of the start are soon forgotten."""
    one = trainer(tmp_path / "c", steps=20, ema=0.5)
    wanted = [value.detach().clone() for value in one.objective.network.parameters()]

    def follow(event: Event) -> None:
        if not isinstance(event, StepTaken):
            return
        decay = min(0.5, (1 + event.step) / (10 + event.step))
        for kept, new in zip(wanted, one.objective.network.parameters(), strict=True):
            kept.mul_(decay).add_(new.detach(), alpha=1 - decay)

    one.run(follow)
    for kept, average, now in zip(wanted, one.average.parameters(), one.objective.network.parameters(), strict=True):
        torch.testing.assert_close(average, kept)
        assert (average - now).abs().max() > 1e-4


def test_the_learning_rate_rises_over_the_warm_up_then_falls_by_half_a_cosine(tmp_path):
    one = trainer(tmp_path / "c", steps=40, warmup=10, learning_rate=1e-2)
    rates = []

    def noted(event: Event) -> None:
        if isinstance(event, StepTaken):
            rates.append(one.optimizers["network"].param_groups[0]["lr"])

    one.run(noted)
    cosine = [1e-2 * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / 40))) for step in range(40)]
    assert rates == pytest.approx([rate * min(1, (step + 1) / 10) for step, rate in enumerate(cosine)])
    assert rates[0] < 0.2 * max(rates)


def test_each_batch_has_noise_of_its_own_and_the_seed_changes_all(tmp_path):
    class Draws(Regression):
        def loss(self, module, batch, draw, step):
            seen.append(float(torch.rand((), generator=draw)))
            return super().loss(module, batch, draw, step)

    def drawn(name: str, seed: int) -> list[float]:
        seen.clear()
        trainer(tmp_path / name, Draws(network()), steps=10, accumulate=2, seed=seed).run()
        return list(seen)

    seen: list[float] = []
    once, again, other = drawn("a", 0), drawn("b", 0), drawn("c", 1)
    assert len(set(once)) == len(once) == 20
    assert once == again
    assert not set(once) & set(other)


def test_the_best_of_the_averages_is_kept(tmp_path):
    one = trainer(tmp_path / "c", learning_rate=0.5, clip=100.0, ema=0.0)
    seen = {}

    def told(event: Event) -> None:
        if isinstance(event, Validated):
            seen[int(event.figures["step"])] = event.figures["psnr"]

    done = one.run(told)
    assert done.best == max(seen.values())
    one.average.load_state_dict(one.best.state_dict())
    assert one.validate().figures["psnr"] == done.best


def test_it_stops_when_validation_no_longer_improves_and_when_time_is_over(tmp_path):
    tired = trainer(tmp_path / "a", learning_rate=1e-12, ema=0.0, patience=2, steps=200).run()
    assert tired.step < 200
    over = trainer(tmp_path / "b").run(minutes=1e-9)
    assert over.step == 0
    assert (tmp_path / "b").exists()


def test_validations_before_those_that_count_neither_end_it_nor_leave_their_weights(tmp_path):
    """As of an autoencoder before its codebook is learned, however well it does by chance."""

    class Falling(Regression):
        begins, validated = 20, 0

        def score(self, network: nn.Module, batch: Batch, restored: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
            self.validated += 1
            return torch.full((len(batch),), -float(self.validated))

    done = trainer(tmp_path / "a", Falling(network()), validate_every=5, patience=2, validation_pairs=1).run()
    assert (done.step, done.best_step) == (30, 20)


def test_a_loss_that_is_not_finite_ends_it_with_a_reason(tmp_path):
    class Broken(Regression):
        def loss(self, *args):
            return super().loss(*args) * float("nan")

    with pytest.raises(RestorationError, match=r"a finite loss at step 0.*smaller --learning-rate"):
        trainer(tmp_path / "c", Broken(network())).run()


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    trainer(tmp_path / "c", steps=1).run()
    with pytest.raises(WeightsError, match="a checkpoint of these networks"):
        trainer(tmp_path / "c", Regression(nn.Conv3d(1, 1, 3, padding=1)), steps=1)


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.99])
def test_a_checkpoint_that_is_not_whole_is_refused_by_name(tmp_path, share):
    trainer(tmp_path / "c", steps=1).run()
    content = (tmp_path / "c").read_bytes()
    (tmp_path / "c").write_bytes(content[: int(share * len(content))])
    with pytest.raises(WeightsError, match=f"checkpoint-unreadable: .* {tmp_path / 'c'}, but got .* Copy it again"):
        trainer(tmp_path / "c", steps=1)


def test_a_generator_with_a_discriminator_learns(tmp_path):
    made = network()
    judge = nn.Sequential(nn.Conv3d(1, 4, 3), nn.LeakyReLU(0.2), nn.Conv3d(4, 1, 3))
    before = {name: value.clone() for name, value in judge.state_dict().items()}
    one = trainer(tmp_path / "c", Adversarial(made, judge, warmup=30))
    done = one.run()
    assert done.kept["psnr"] > done.history[0]["psnr_cubic"]
    assert done.best_step == done.step == 60
    assert all(torch.equal(value, one.average.state_dict()[name]) for name, value in one.best.state_dict().items())
    assert any(not torch.equal(before[name], value) for name, value in judge.state_dict().items())


ONE_OF_TWO = """
import sys
from torch import distributed
sys.path[:0] = sys.argv[2:]
from test_loop import adversarial, trainer
distributed.init_process_group("gloo")
trainer(sys.argv[1], adversarial(), steps=6, accumulate=2, validate_every=3).run()
distributed.destroy_process_group()
"""


def adversarial() -> Adversarial:
    made = network()
    return Adversarial(made, nn.Sequential(nn.Conv3d(1, 4, 3), nn.LeakyReLU(0.2), nn.Conv3d(4, 1, 3)), warmup=3)


def test_a_u_net_begins_at_the_interpolation():
    inputs = torch.rand((2, 1, 16, 16, 16))
    recipe = registry.recipe("unet-3d")
    begun = recipe.stages[0].begin(Context(recipe.preset("tiny"), Training(steps=1)))
    added = begun.restore(begun.network, Batch(inputs, inputs)) - inputs
    assert 0 < added.std() < 0.05 * inputs.std()


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path):
    alone = trainer(tmp_path / "alone", adversarial(), steps=6, accumulate=2, validate_every=3)
    alone.run()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    here = Path(__file__)
    words = [sys.executable, "-c", ONE_OF_TWO, str(tmp_path / "both"), str(here.parent), str(here.parents[3])]
    both = [subprocess.Popen(words, env=world | {"RANK": str(rank)}) for rank in range(2)]
    assert [one.wait(120) for one in both] == [0, 0]
    after = trainer(tmp_path / "both", adversarial(), steps=6, accumulate=2, validate_every=3)
    assert after.progress.step == 6
    for name, value in state(after).items():
        torch.testing.assert_close(value, state(alone)[name], rtol=1e-4, atol=1e-6)


def test_batches_that_processes_cannot_share_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 0)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    with pytest.raises(UsageError, match=r"a multiple of the 2 processes.*got 3"):
        trainer(tmp_path / "c", accumulate=3)


@pytest.mark.parametrize("name", ["psnr_cubic", "score"])
def test_a_validation_without_finite_figures_ends_the_training_by_name_and_keeps_nothing(tmp_path, monkeypatch, name):
    """Of weights that the last step spoiled: the loss before it was finite."""
    one = trainer(tmp_path / "c", steps=20)
    if name == "score":
        monkeypatch.setattr(one.objective, "score", lambda *held: torch.full((len(held[-1]),), math.nan))
    else:
        monkeypatch.setattr(one.objective, "figures", lambda *_: {name: torch.tensor([math.nan])})
    with pytest.raises(RestorationError, match=f"training-diverged: expected finite figures at step 20, but got .*{name} nan"):
        one.run()
    assert one.progress.history == []
    assert one.progress.best_step == 0
