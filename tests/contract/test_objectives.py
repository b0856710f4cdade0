"""What every recipe promises, held against each of them at its tiny size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from core.methods import registry
from core.settings.train import Training
from core.training.batch import Batch
from core.training.events import Event, StepTaken
from core.training.loop import Trainer
from core.training.objectives.base import Objective
from core.training.recipe import Context, Recipe, Stage, pairs

WANTED = Training(steps=4, batch=2, validate_every=2, learning_rate=1e-3, warmup=1, ema=0.5)
TINY = "tiny"


def alone() -> list[str]:
    """Recipes whose first stage learns from pairs of patches: those of other examples are tested in their families."""
    return [name for name in registry.recipes() if registry.recipe(name).stages[0].examples is pairs]


class Blurred(Dataset[Batch]):
    """Noise, and the same under a blur, by number."""

    def __init__(self, edge: int, length: int) -> None:
        self.edge, self.length = edge, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Batch:
        truth = torch.rand((1, self.edge, self.edge, self.edge), generator=torch.Generator().manual_seed(index))
        return Batch(nn.functional.avg_pool3d(truth, 3, 1, 1), truth)


@pytest.fixture(params=alone())
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return registry.recipe(request.param)


def context(recipe: Recipe, stage: Stage) -> Context:
    return Context(recipe.networks(TINY)[stage.role], WANTED)


def begun(recipe: Recipe) -> tuple[Objective, Batch]:
    """The first stage's objective, and two examples."""
    stage = recipe.stages[0]
    torch.manual_seed(0)
    how = context(recipe, stage)
    examples = Blurred(how.preset.block, 2)
    one, other = examples[0], examples[1]
    return stage.begin(how), Batch(torch.stack([one.inputs, other.inputs]), torch.stack([one.truth, other.truth]))


def test_what_is_declared_is_there(recipe: Recipe) -> None:
    entry = registry.recipe_entry(recipe.name)
    assert (recipe.name, recipe.method, tuple(recipe.presets)) == (entry.name, entry.method, entry.presets)
    assert registry.method_entry(recipe.method).takes.model
    assert [stage.role for stage in recipe.stages] == list(recipe.networks(TINY))


def test_the_modules_that_learn_exist_and_have_optimisers(recipe: Recipe) -> None:
    objective, _ = begun(recipe)
    assert "network" in objective.trained
    for name in objective.trained:
        held = {id(one) for group in objective.optimizer(name, 1e-3).param_groups for one in group["params"]}
        assert held == {id(one) for one in getattr(objective, name).parameters()}
    assert set(objective.learning(0)) <= set(objective.trained)
    assert objective.kept


def test_the_same_draw_gives_the_same_loss_and_it_is_finite(recipe: Recipe) -> None:
    objective, batch = begun(recipe)
    for name in objective.trained:
        losses = [objective.loss(name, batch, torch.Generator().manual_seed(1), WANTED.steps) for _ in range(2)]
        assert losses[0].isfinite()
        assert losses[0].shape == ()
        assert torch.equal(*losses)


def test_a_few_steps_lower_the_loss_on_one_batch(recipe: Recipe) -> None:
    objective, batch = begun(recipe)
    objective.train()
    optimizer = objective.optimizer("network", 2e-3)

    def loss() -> torch.Tensor:
        return objective.loss("network", batch, torch.Generator().manual_seed(1), 0)

    before = float(loss().detach())
    for _ in range(8):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert float(loss().detach()) < before


def test_what_is_restored_is_like_the_truth_and_scored_one_by_one(recipe: Recipe) -> None:
    objective, batch = begun(recipe)
    objective.eval()
    with torch.no_grad():
        restored = objective.restore(objective.network, batch)
        blind = objective.restore(objective.network, Batch(batch.inputs, torch.zeros_like(batch.truth), batch.conditions))
        assert objective.score(objective.network, batch, restored).shape == (2,)
    assert restored.shape == batch.truth.shape
    assert torch.equal(restored, blind)  # the truth is not looked at
    assert all(each.shape == (2,) for each in objective.figures(batch, restored).values())


def trainer(recipe: Recipe, uri: Path) -> Trainer:
    stage = recipe.stages[0]
    torch.manual_seed(0)
    how = context(recipe, stage)
    edge = how.preset.block
    return Trainer(stage.begin(how), WANTED, Blurred(edge, WANTED.steps * WANTED.batch), Blurred(edge, 2), str(uri), "cpu")


class StoppedError(Exception):
    """In place of kill -9."""


def test_a_training_that_was_stopped_ends_with_the_bytes_of_one_that_was_not(recipe: Recipe, tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if event == StepTaken(3):
            raise StoppedError

    whole = trainer(recipe, tmp_path / "whole")
    whole.run()
    stopped = trainer(recipe, tmp_path / "stopped")
    stopped.settings = stopped.settings.model_copy(update={"checkpoint_minutes": 0.0})
    with pytest.raises(StoppedError):
        stopped.run(stop)
    again = trainer(recipe, tmp_path / "stopped")
    assert again.progress.step == 2
    again.run()
    assert (tmp_path / "stopped").read_bytes() == (tmp_path / "whole").read_bytes()


def test_the_model_that_is_written_is_one_of_its_method(recipe: Recipe, tmp_path: Path) -> None:
    from core.training.recipe import Trained

    networks = recipe.networks(TINY)
    trained: dict[str, nn.Module] = {}
    for stage in recipe.stages:
        trained[stage.role] = stage.begin(replace(context(recipe, stage), earlier=dict(trained))).network
    weights = {role: network.state_dict() for role, network in trained.items()}
    recipe.write(str(tmp_path / "model"), Trained(networks, weights, "# For tests\n"))
    assert (tmp_path / "model" / "README.md").read_text().startswith("# For tests")
    registry.build_method(recipe.method, {}, str(tmp_path / "model"))
