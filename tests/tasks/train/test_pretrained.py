"""A training that begins with the weights of a model: it takes them, keeps a copy, and says whom that model has seen."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from core.errors import UsageError, WeightsError
from core.io import files
from core.methods import registry
from core.models.bundle import read_bundle, read_part
from core.models.calibration import Stretch, note_stretches, read_calibration
from core.models.card import read_card
from core.models.domain import GainCell, read_domain
from core.models.tested import note_tested
from core.networks import build
from core.settings.train import Split, TrainSettings
from core.training.recipe import Trained
from tasks.evaluate.cases import trained_of
from tasks.train import intake, pretrained, training
from tasks.train.intake import Cohort, Place
from tasks.train.noted import remember
from tasks.train.training import Learning
from tests.tasks.train.test_training import cohort, learning, uri

__all__ = ["cohort", "uri"]

NOBODY = Split()


@pytest.fixture(scope="module")
def model(cohort: Path, uri: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a training on person 01, which 02 validated."""
    folder = tmp_path_factory.mktemp("first")
    work, taken = learning(cohort, folder, uri)
    training.learn(work)
    training.finished(work, taken)
    return folder / "model"


def beginning(cohort: Path, out: Path, uri: str, model: Path, split: Split = NOBODY) -> tuple[Learning, Cohort]:
    """A training that begins with the model, and its cohort; persons 01 and 03 learn and 02 validates."""
    work, taken = learning(cohort, out, uri, pretrained=str(model), split=split)
    return replace(work, split={"train": ["01", "03"], "validation": ["02"], "test": []}), taken


def weights_of(model: Path) -> dict[str, torch.Tensor]:
    return read_part(str(model), read_bundle(str(model)).part)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_network_average_and_best_begin_with_the_model_s_weights(cohort, tmp_path, uri, model):
    work, taken = beginning(cohort, tmp_path, uri, model)
    training.begin(work, str(model), taken)
    trainer = training.trainer_of(work, work.recipe.stages[0])
    for network in (trainer.objective.network, trainer.average, trainer.best):
        assert same(network.state_dict(), weights_of(model))


def test_a_training_that_was_stopped_goes_on_from_its_checkpoint_and_not_from_the_model(cohort, tmp_path, uri, model):
    work, taken = beginning(cohort, tmp_path, uri, model)
    training.begin(work, str(model), taken)
    training.learn(work)
    trainer = training.trainer_of(work, work.recipe.stages[0])
    assert trainer.progress.step == 4
    assert not same(trainer.objective.network.state_dict(), weights_of(model))


def test_the_copy_beside_the_training_stays_when_the_name_means_another_model(cohort, tmp_path, uri, model):
    work, taken = beginning(cohort, tmp_path / "out", uri, model)
    moving = tmp_path / "moving"
    shutil.copytree(model, moving)
    training.begin(work, str(moving), taken)
    (moving / "model.safetensors").write_bytes(b"")
    training.begin(work, str(moving), taken)
    assert same(weights_of(Path(Place(work.uri).pretrained)), weights_of(model))


def test_the_model_says_whom_the_one_before_has_seen(cohort, tmp_path, uri, model):
    work, taken = beginning(cohort, tmp_path, uri, model)
    work = replace(work, split={"train": ["03"], "validation": ["02"], "test": []})
    training.begin(work, str(model), taken)
    training.learn(work)
    training.finished(work, taken)
    made = str(tmp_path / "model")
    assert trained_of(made).sha256 == {taken.prints[f"sub-{name}_T1w"].sha256 for name in ("01", "03")}
    card = read_card(made)
    assert card is not None
    assert [data.persons["train"] for data in card.data] == [("03",), ("01",)]
    assert f"It began with the weights of unet-3d ({read_bundle(str(model)).digest[:12]})." in card.training
    assert "It began with" not in (read_card(str(model)) or card).training


def test_a_model_without_its_split_is_said_not_to_tell(cohort, tmp_path, uri, model):
    bare = tmp_path / "bare"
    shutil.copytree(model, bare)
    (bare / "split.json").unlink()
    assert "It does not say which files" in pretrained.lineage(str(bare)).describe()
    assert "It does not say" not in pretrained.lineage(str(model)).describe()


def test_a_model_of_another_size_or_of_other_roles_is_refused(model):
    recipe = registry.recipe("unet-3d")
    pretrained.check_fit(str(model), recipe.networks("tiny"))
    with pytest.raises(UsageError, match="pretrained-unfit"):
        pretrained.check_fit(str(model), recipe.networks("small"))
    with pytest.raises(UsageError, match=r"the denoiser .* none"):
        pretrained.check_fit(str(model), {"denoiser": recipe.preset("tiny")})


def edited(folder: Path, change: Callable[[dict[str, Any]], object]) -> str:
    """The model of which the config says something else."""
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def of_recipe(name: str, folder: Path) -> Path:
    """A model in the size tiny, with random weights."""
    recipe = registry.recipe(name)
    sizes = recipe.networks("tiny")
    weights = {role: build(size.network, size.config).state_dict() for role, size in sizes.items()}
    recipe.write(str(folder), Trained(sizes, weights, "for tests"))
    return folder


def test_a_model_that_was_taught_to_give_the_image_does_not_begin_one_that_gives_what_is_to_be_added(tmp_path, model):
    recipe = registry.recipe("unet-3d")
    pretrained.check_taught(str(model), recipe, "tiny")
    shutil.copytree(model, tmp_path / "other")
    other = edited(tmp_path / "other", lambda config: config.update(residual=False))
    pretrained.check_fit(other, recipe.networks("tiny"), recipe.stages)
    with pytest.raises(UsageError, match=r"pretrained-unfit: .* that was taught residual True, but got residual False\. Name a"):
        pretrained.check_taught(other, recipe, "tiny")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("brain-ldm", lambda config: config.update(prediction="v"), "taught prediction eps, but got prediction v"),
        ("brain-ldm", lambda config: config["schedule"].update(last=0.0155), "taught schedule .*0.0205.*, but got .*0.0155"),
        ("brain-ldm", lambda config: config["prior"]["conditions"].reverse(), "taught conditions .*'sex'.*, but got .*'age'"),
        ("latent-zoom", lambda config: config.update(prediction="eps"), "taught prediction v, but got prediction eps"),
        ("latent-zoom", lambda config: config.pop("prediction"), "taught prediction v, but got prediction eps"),
        ("score-slices", lambda config: config.update(prediction="score"), "taught prediction x0, but got prediction score"),
    ],
)
def test_a_model_of_another_prediction_noise_or_conditions_is_refused(tmp_path, name, change, said):
    recipe, folder = registry.recipe(name), of_recipe(name, tmp_path)
    pretrained.check_taught(str(folder), recipe, "tiny")
    edited(folder, change)
    pretrained.check_fit(str(folder), recipe.networks("tiny"), recipe.stages)
    with pytest.raises(UsageError, match=f"pretrained-unfit: .* {said}"):
        pretrained.check_taught(str(folder), recipe, "tiny")


def test_a_score_model_of_another_range_of_noise_is_gone_on_with(tmp_path):
    """It is told the noise itself."""
    folder = edited(of_recipe("score-slices", tmp_path), lambda config: config["schedule"].update(last=20.0))
    pretrained.check_taught(folder, registry.recipe("score-slices"), "tiny")


def test_a_damaged_split_of_the_model_is_told(model, tmp_path):
    shutil.copytree(model, tmp_path / "torn")
    (tmp_path / "torn" / "split.json").write_text("{")
    with pytest.raises(WeightsError, match="split-unreadable: expected a model's split"):
        pretrained.lineage(str(tmp_path / "torn"))


@pytest.mark.parametrize("held", ["validation", "test"])
def test_a_model_that_has_seen_who_is_held_out_is_refused(cohort, tmp_path, uri, model, held):
    work, taken = beginning(cohort, tmp_path, uri, model, Split(test=("01",) if held == "test" else ()))
    work = replace(work, split={"train": ["02"], "validation": ["03"], "test": [], held: ["01"]})
    with pytest.raises(UsageError, match=r"pretrained-saw: .* one that has seen 01 \(sub-01_T1w\)\. Hold out others"):
        training.begin(work, str(model), taken)
    assert not files.exists(Place(work.uri).pretrained)
    assert not files.exists(Place(work.uri).settings)  # another split, as the remedy says, is no other training


@pytest.mark.parametrize("name", ["sub-01_T1w.nii.gz", "sub-01_T1w.nii"])
def test_a_scan_that_was_packed_anew_is_known_by_its_voxels_but_not_to_a_model_of_before(tmp_path, uri, cohort, model, name):
    """Another level of compression, or none: other bytes, the same scan."""
    packed = tmp_path / "packed"
    shutil.copytree(cohort, packed)
    file = packed / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    plain = gzip.decompress(file.read_bytes())
    file.unlink()
    file.with_name(name).write_bytes(gzip.compress(plain, 1) if name.endswith(".gz") else plain)
    work, taken = beginning(packed, tmp_path / "out", uri, model, Split(test=("01",)))
    work = replace(work, split={"train": ["02"], "validation": ["03"], "test": ["01"]})
    with pytest.raises(UsageError, match=r"pretrained-saw: .* 01 \(sub-01_T1w\)"):
        training.begin(work, str(model), taken)
    before = tmp_path / "before"
    shutil.copytree(model, before)
    split = json.loads((before / "split.json").read_text())
    del split["voxels"]
    (before / "split.json").write_text(json.dumps(split))
    training.begin(work, str(before), taken)


def test_a_scan_of_the_test_that_cannot_be_read_ends_no_training(cohort, tmp_path):
    settings = TrainSettings(recipe="unet-3d", cohort=str(cohort), preset="tiny", split=Split(test=("04",)))
    taken = intake.ingest(Place(str(tmp_path)), settings, lambda *_: None)
    assert taken.prints["sub-04_T1w"].voxels == ""
    assert taken.failed == {}
    assert not taken.prints["sub-04_T1w"].is_among({"", taken.prints["sub-01_T1w"].voxels})


def test_weights_that_are_not_the_model_s_are_refused_and_nothing_is_kept(cohort, tmp_path, uri, model):
    work, taken = beginning(cohort, tmp_path / "out", uri, model)
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    (broken / "model.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError):
        training.begin(work, str(broken), taken)
    assert not pretrained.is_kept(Place(work.uri).pretrained)


def test_a_folder_knows_that_its_training_began_with_a_model(cohort, tmp_path, uri, model):
    work, taken = beginning(cohort, tmp_path, uri, model)
    place = Place(work.uri)
    remember(place, work.settings, work.split, taken)
    with pytest.raises(UsageError, match=r"other values of settings\.pretrained"):
        remember(place, work.settings.model_copy(update={"pretrained": None}), work.split, taken)
    Path(place.settings).unlink()
    remember(place, work.settings.model_copy(update={"pretrained": None}), work.split, taken)
    assert "pretrained" not in json.loads(Path(place.settings).read_text())["settings"]


def test_what_evaluations_found_stays_while_the_weights_do_and_goes_with_them(cohort, tmp_path, uri):
    """The same command again writes the same model; a training that goes on another."""
    work, taken = learning(cohort, tmp_path, uri)
    training.learn(work)
    training.finished(work, taken)
    folder, cell = str(tmp_path / "model"), GainCell(contrast="T1w", factor=4, gap=0, gain=1, least=0.5, persons=5)
    note_tested(folder, (cell,))
    note_stretches(folder, [Stretch(spacing=4, stretch=1.5, persons=5)])
    training.finished(work, taken)
    assert read_domain(folder).tested == (cell,)
    assert read_card(folder).figures[-1].on == cell.scans()
    assert read_calibration(folder).stretches
    config = tmp_path / "model" / "config.json"
    config.write_text(config.read_text().replace('"residual": true', '"residual": false'))  # as if other weights stood there
    training.finished(work, taken)
    assert read_domain(folder).tested is None
    assert not read_calibration(folder).stretches
