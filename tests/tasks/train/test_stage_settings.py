"""Steps and learning rates of stages: a plain number is for all, a name for one, and a stage has shares of its own."""

from __future__ import annotations

import argparse
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cli.helpers.options import add_settings, settings_from
from core.errors import UsageError
from core.methods import registry
from core.models.bundle import read_bundle
from core.models.scaling import Scaling
from core.networks import build
from core.settings.train import Training, TrainSettings
from core.training.objectives.regression import Regression
from core.training.recipe import Stage, Trained
from tasks.train import training
from tasks.train.training import check_stages


def stage(role: str, **shares: float) -> Stage:
    return Stage(lambda *_: Regression(nn.Identity()), role, **shares)


def parsed(*words: str) -> TrainSettings:
    parser = argparse.ArgumentParser()
    add_settings(parser, TrainSettings, ("recipe", "cohort"))
    return settings_from(parser.parse_args(["unet-3d", "/data", *words]), TrainSettings)


@given(st.integers(1, 10**6), st.floats(0.01, 4), st.floats(0.01, 4))
def test_a_stage_makes_its_share_of_a_plain_number_and_all_of_its_own(steps, share, rate):
    own = stage("denoiser", share=share, rate=rate)
    every = own.training(Training(steps=steps, learning_rate=1e-3))
    assert every.steps == max(1, round(share * steps))
    assert every.learning_rate == pytest.approx(rate * 1e-3)
    named = own.training(Training(steps={"denoiser": steps}, learning_rate={"denoiser": 2e-3}))
    assert (named.steps, named.learning_rate) == (steps, 2e-3)
    other = stage("autoencoder").training(Training(steps={"denoiser": steps}, learning_rate={"denoiser": 2e-3}))
    assert other == Training()


def test_the_command_line_says_a_number_for_all_stages_names_for_some_or_both():
    assert parsed().training == Training()
    assert parsed("--steps", "700").training == Training(steps=700)
    said = parsed("--steps", "700", "denoiser=2000", "--learning-rate", "autoencoder=1e-4").training
    assert said.steps == 700
    assert stage("denoiser").training(said).steps == 2000
    assert stage("autoencoder").training(said).steps == 700
    assert stage("autoencoder").training(said).learning_rate == 1e-4
    assert stage("denoiser").training(said).learning_rate == Training().learning_rate
    assert TrainSettings.model_validate_json(parsed("--steps", "a=3").model_dump_json()).training == Training(steps={"a": 3})


def test_what_was_noted_of_a_training_without_stages_stays_what_it_was():
    noted = Training(steps=700).model_dump(mode="json")
    assert noted["steps"] == 700
    assert "stages" not in noted
    assert Training(steps={"a": 3}).model_dump(mode="json")["stages"]["a"]["steps"] == 3


@pytest.mark.parametrize("words", [["denoiser=0"], ["denoiser=x"], ["7", "8"], ["many"]])
def test_steps_that_cannot_be_are_refused(words):
    with pytest.raises(UsageError, match=r"settings: expected training\.\S*steps"):
        parsed("--steps", *words)


def test_a_stage_that_the_recipe_does_not_have_is_refused_with_the_nearest():
    check_stages(parsed("--steps", "network=3"))
    with pytest.raises(UsageError, match=r"stage-unknown: expected one of network, but got netwrk\. Did you mean network\?"):
        check_stages(parsed("--steps", "netwrk=3"))


def test_a_patch_that_the_network_cannot_take_is_refused_before_anything_is_read():
    check_stages(parsed("--patch", "32"))
    with pytest.raises(UsageError, match=r"patch-unfit: expected patches with edges of a multiple of \d+ voxels .* but got 17\."):
        check_stages(parsed("--patch", "17"))
    cross_batch = parsed("--patch", "48").model_copy(update={"recipe": "diffusion-iqt", "preset": "small"})
    check_stages(cross_batch)
    how = cross_batch.training.model_copy(update={"patch": 32})
    with pytest.raises(
        UsageError, match=r"patch-unfit: expected .* a multiple of 24 voxels for diffusion-iqt small, but got 32\."
    ):
        check_stages(cross_batch.model_copy(update={"training": how}))


def test_examples_are_measured_once_before_a_stage_begins_and_the_model_hears_of_it(tmp_path):
    """A second look finds what the first kept; a training that had begun without measures none."""
    asked: list[int] = []

    def measure(examples: list[int]) -> dict[str, float]:
        asked.append(len(examples))
        return {"low": -1.0, "high": float(len(examples))}

    one = Stage(lambda *_: Regression(nn.Identity()), "network", measures=measure)
    settings = SimpleNamespace(pretrained=None)
    learning = SimpleNamespace(uri=str(tmp_path), label=lambda _: "", recipe=SimpleNamespace(stages=[one]), settings=settings)
    for examples in ([1, 2], [1, 2, 3]):
        training._measure(learning, one, examples)
    assert asked == [2]
    assert training._measured(learning) == {"network": {"low": -1.0, "high": 2.0}}
    begun = SimpleNamespace(uri=str(tmp_path / "begun"), label=lambda _: "", recipe=learning.recipe, settings=settings)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "checkpoint.safetensors").write_bytes(b"")
    training._measure(begun, one, [1])
    assert (asked, training.measured_by(begun, one), training._measured(begun)) == ([2], {}, {})
    recipe = registry.recipe("diffusion-iqt")
    chosen = recipe.preset("tiny")
    weights = build(chosen.network, chosen.config).state_dict()
    learned = Trained({"network": chosen}, {"network": weights}, "# For tests\n", {"network": {"low": -2.0, "high": 3.0}})
    recipe.write(str(tmp_path / "model"), learned)
    assert read_bundle(str(tmp_path / "model")).scaling == Scaling(low=-2, high=3)
