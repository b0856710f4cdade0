"""Options of a degradation that a recipe ignores are refused where they are said, and only there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cli import main as cli
from core.errors import UsageError
from core.settings.degradation import Degradation
from core.settings.train import TrainSettings
from flows.train import train_network
from tasks.train.degrading import check_asked

IGNORING = ["anyscan", "brain-ldm", "score-slices", "srcnn", "bicubic-ae"]


def settings(recipe: str, **degradation: object) -> TrainSettings:
    return TrainSettings.model_validate({"recipe": recipe, "cohort": "/data", "degradation": degradation})


@pytest.mark.parametrize("recipe", IGNORING)
def test_a_recipe_that_makes_its_own_examples_refuses_a_degradation_that_is_said(recipe):
    wanted = rf"option-idle: expected no options of a degradation for {recipe}, which .*, but got --operator, --slice-gap\. Leave"
    for defaults in (False, True):
        with pytest.raises(UsageError, match=wanted):
            check_asked(settings(recipe, operator="low-field", slice_gap=0.5), defaults=defaults)


@pytest.mark.parametrize("recipe", ["unet-3d", "esrgan-3d", "diffusion-iqt-base"])
def test_a_recipe_that_degrades_as_it_is_told_takes_it(recipe):
    check_asked(settings(recipe, operator="low-field", factor=8), defaults=True)


def test_a_default_is_refused_where_it_was_said_and_not_where_a_form_says_all_of_them():
    check_asked(TrainSettings(recipe="anyscan", cohort="/data"), defaults=True)
    every = settings("anyscan", **{name: field.default for name, field in Degradation.model_fields.items()})
    check_asked(every, defaults=False)
    with pytest.raises(UsageError, match="but got --factor"):
        check_asked(settings("anyscan", factor=4), defaults=True)


def test_a_flow_that_others_start_refuses_it_too():
    with pytest.raises(UsageError, match=r"option-idle.* but got --factor"):
        train_network.fn(settings("anyscan", factor=8))


def test_the_command_refuses_it_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    words = ["train", "anyscan", str(tmp_path), "--out", str(tmp_path / "out"), "--factor", "4"]
    assert cli.main(words) == 2
    assert "option-idle" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["study/a", "..", " "])
def test_a_name_that_the_registry_would_refuse_once_all_is_trained_is_refused_at_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    words = ["train", "unet-3d", str(tmp_path), "--out", str(tmp_path / "out"), "--name", name]
    assert cli.main(words) == 2
    assert "model-name" in capsys.readouterr().err
    with pytest.raises(UsageError, match="model-name"):
        train_network.fn(TrainSettings(recipe="unet-3d", cohort=str(tmp_path), out=str(tmp_path / "out"), name=name))
    assert not (tmp_path / "out").exists()
