"""A training that begins with the weights of a model: it takes them, keeps a copy, and says whom that model has seen."""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path

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
from core.settings.train import Split, TrainSettings
from tasks.evaluate.cases import trained_of
from tasks.train import intake, pretrained, training
from tasks.train.intake import Cohort, Place
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
    training.remember(place, work.settings, work.split, taken)
    with pytest.raises(UsageError, match=r"other values of settings\.pretrained"):
        training.remember(place, work.settings.model_copy(update={"pretrained": None}), work.split, taken)
    Path(place.settings).unlink()
    training.remember(place, work.settings.model_copy(update={"pretrained": None}), work.split, taken)
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
