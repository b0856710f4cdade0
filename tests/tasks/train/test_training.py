"""A training's parts in one process: what is taken in, what is noted, the model and its card."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from core.errors import UsageError, WeightsError
from core.geometry.grid import Box, Grid
from core.io import files
from core.methods import registry
from core.models.bundle import read_bundle
from core.models.cache import load_network
from core.models.card import read_card, write_card
from core.models.check import RECORDED
from core.models.domain import read_domain
from core.networks.preset import Preset
from core.settings.degradation import Degradation
from core.settings.train import Split, Training, TrainSettings
from core.stats import scan_stats
from core.training.batch import Batch
from core.training.data.cached import Cached
from core.training.data.pairs import draw_pair
from core.training.data.split import split_subjects
from core.training.objectives.base import Objective
from core.training.objectives.regression import Regression
from core.training.recipe import Context, Draw, Recipe, Stage, Trained, pairs
from tasks.restore.work import write_image
from tasks.tracking.database import make_database
from tasks.train import card, intake, run_log, training
from tasks.train.intake import Place
from tasks.train.noted import remember
from tasks.train.training import Learning


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small heads of texture in BIDS, and a file that is none."""
    root = tmp_path_factory.mktemp("cohort")
    (root / "dataset_description.json").write_text(json.dumps({"Name": "heads", "BIDSVersion": "1.9.0", "License": "CC0"}))
    for n in range(1, 5):
        path = root / f"sub-{n:02d}" / "anat" / f"sub-{n:02d}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        if n == 4:
            path.write_bytes(b"no scan")
        else:
            head = np.pad(np.random.default_rng(n).gamma(4, 20, (60, 60, 60)), 4).astype(np.float32)
            nib.save(nib.Nifti1Image(head, np.eye(4)), path)
    return root


@pytest.mark.parametrize("operator", ["slice-profile", "k-space", "low-field"])
def test_a_scan_whose_air_is_below_zero_is_learned_from_as_its_magnitudes_are(operator: str, tmp_path: Path) -> None:
    """As z-scores are: networks are shown them shifted, too."""
    where = (np.stack(np.meshgrid(*(np.linspace(-1, 1, 48),) * 3, indexing="ij")) ** 2).sum(0)
    head = np.where(where < 0.6, 80 + 40 * np.cos(9 * where) + np.random.default_rng(0).normal(0, 2, where.shape), 0)
    place, how, grid = Place(str(tmp_path)), Degradation.model_validate({"operator": operator}), Grid((48, 48, 48), np.eye(4))
    subjects = []
    for key, image in {"plain": head, "shifted": head / 50 - 1}.items():
        attrs = {"stats": asdict(scan_stats(image.astype(np.float32)))}
        write_image(place.store, f"{key}/measured", image.astype(np.float32), grid, attrs, key)
        subjects.append(training.subject(place, "01", key, how, {}))
    plain, shifted = subjects
    np.testing.assert_array_equal(shifted.occupied, plain.occupied)
    wanted, got = (draw_pair(each, how.forward, 16, np.random.default_rng(1), axis=2) for each in (plain, shifted))
    np.testing.assert_allclose(got.truth, wanted.truth, atol=1e-5)
    np.testing.assert_allclose(got.input, wanted.input, atol=2e-3)
    np.testing.assert_allclose(shifted.scaled(shifted.read(Box.whole(grid.shape))), plain.scaled(head), atol=1e-5)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("mlflow")
    make_database(folder)
    return f"sqlite:///{folder / 'mlflow.db'}"


def learning(cohort: Path, out: Path, uri: str, **changed) -> tuple[Learning, intake.Cohort]:
    how = Training(steps=4, batch=2, validate_every=2, validation_pairs=2)
    usual = {"recipe": "unet-3d", "cohort": str(cohort), "preset": "tiny", "training": how}
    settings = TrainSettings(**usual | changed)
    taken = intake.ingest(Place(str(out)), settings, lambda *_: None)
    split = split_subjects(list(taken.people), ("02",), ("03",))
    return Learning(settings, str(out), taken.people, split, uri), taken


def test_a_bad_scan_is_named_and_the_others_are_trained_on(cohort, tmp_path, uri):
    work, taken = learning(cohort, tmp_path, uri)
    assert taken.people == {"01": ["sub-01_T1w"], "02": ["sub-02_T1w"], "03": ["sub-03_T1w"]}
    assert list(taken.failed) == ["sub-04_T1w"]
    assert training.finished(work, taken).step == 0  # nothing learned yet: no model
    assert not Path(Place(work.uri).model).exists()
    training.learn(work)
    progress = training.finished(work, taken)
    assert progress.step == 4
    assert progress.best_step in {2, 4}
    model = Place(work.uri).model
    spec = read_bundle(model)
    assert spec.residual
    assert spec.slices_last
    load_network(model, spec, "cpu")
    card = Path(model, "README.md").read_text()
    for wanted in ("Licence: CC0", "- train: 01", "- validation: 02", "- test: 03", "dB"):
        assert wanted in card
    said = read_card(model)
    assert said is not None
    assert (said.data[0].persons, set(said.versions)) == (
        {"train": ("01",), "validation": ("02",), "test": ("03",)},
        set(RECORDED),
    )
    domain = read_domain(model)
    assert (domain.contrasts, domain.factor, domain.sign, domain.persons) == (("T1w",), (3.5, 4.5), None, 1)
    assert domain.slice_spacing == (3.5, 4.5)
    split = json.loads(Path(model, "split.json").read_text())
    assert list(split["sha256"]) == ["sub-01_T1w"]


@pytest.mark.parametrize("content", [b"[]", b'{"License": "CC0", "Authors": ["M\xfcller"]}'])
def test_a_description_that_cannot_be_read_costs_no_training_its_card(tmp_path, content):
    (tmp_path / "dataset_description.json").write_bytes(content)
    assert card._licence(str(tmp_path)) == ("", "")


def test_the_card_names_the_perceptual_term_that_was_learned_by(cohort, tmp_path, uri, monkeypatch):
    def missing():
        raise UsageError("lpips-missing", "VGG", "none", "fetch it")

    monkeypatch.setattr("core.evaluation.metrics.perceptual.vgg", missing)
    how = Training(steps=2, batch=2, validate_every=2, validation_pairs=2, patch=32)
    work, taken = learning(cohort, tmp_path, uri, recipe="bicubic-ae", training=how)
    training.learn(work)
    training.finished(work, taken)
    card = Path(Place(work.uri).model, "README.md").read_text()
    assert "Perceptual term: gradients at three resolutions, in place of LPIPS, whose VGG is not at hand." in card


def test_validation_draws_other_patches_than_training(cohort, tmp_path, uri):
    work, _ = learning(cohort, tmp_path, uri)
    one = training.trainer_of(work, work.recipe.stages[0])
    assert {subject.name for subject in one.pairs.subjects} == {"01"}
    assert {subject.name for subject in one.held.subjects} == {"02"}
    one.held.subjects = one.pairs.subjects  # over the same head the same draws would give the same patches
    for number in range(len(one.held)):
        assert not np.array_equal(one.held[number].truth, one.pairs[number].truth)


def test_what_participants_tsv_tells_of_a_person_comes_with_the_images(cohort, tmp_path, uri):
    work, _ = learning(cohort, tmp_path, uri)
    assert [one.covariates for one in work.subjects("train")] == [{}]
    told = cohort / "participants.tsv"
    told.write_text("participant_id\tage\nsub-01\t39\nsub-02\t50\n")
    try:
        assert [one.covariates for one in work.subjects("train")] == [{"age": 39.0}]
    finally:
        told.unlink()


def test_a_recipe_without_a_forward_model_leaves_a_model_that_says_nothing_of_slices(cohort, tmp_path, uri, monkeypatch):
    from core.methods import registry

    plain = replace(registry.recipe("unet-3d"), degrades=False)
    monkeypatch.setattr(registry, "recipe", lambda _: plain)
    work, taken = learning(cohort, tmp_path, uri)
    training.learn(work)
    training.finished(work, taken)
    domain = read_domain(Place(work.uri).model)
    assert (domain.factor, domain.slice_spacing, domain.anatomy) == (None, None, ("brain",))
    card = read_card(Place(work.uri).model)
    assert card is not None
    assert "what images like those below can be" in card.purpose
    assert "slice-profile" not in card.purpose


def test_the_scans_of_the_test_are_hashed_and_not_taken_in(cohort, tmp_path):
    settings = TrainSettings(recipe="unet-3d", cohort=str(cohort), preset="tiny", split=Split(test=("03", "01")))
    taken = intake.ingest(Place(str(tmp_path)), settings, lambda *_: None)
    assert taken.people == {"01": [], "02": ["sub-02_T1w"], "03": []}
    assert {key: scan.person for key, scan in taken.prints.items()} == {f"sub-{name}_T1w": name for name in ("01", "02", "03")}
    assert taken.prints["sub-01_T1w"].sha256 == files.sha256(str(cohort / "sub-01" / "anat" / "sub-01_T1w.nii.gz"))
    assert not (tmp_path / "cohort.zarr" / "sub-01_T1w").exists()


def test_figures_and_pictures_reach_mlflow_and_one_training_is_one_run(cohort, tmp_path, uri):
    from mlflow import MlflowClient

    work, _ = learning(cohort, tmp_path, uri, name="told")
    training.learn(work)
    log = work.log()
    client = MlflowClient(tracking_uri=uri)
    assert [point.step for point in client.get_metric_history(log.run_id, "psnr")] == [2, 4]
    assert {one.path for one in client.list_artifacts(log.run_id, "validation")} == {f"validation/{n:07d}.png" for n in (2, 4)}
    assert client.get_run(log.run_id).data.params["degradation.factor"] == "4"
    assert work.log().run_id == log.run_id


def test_folders_of_one_name_in_two_places_are_two_runs_of_mlflow(cohort, tmp_path, uri, monkeypatch):
    """As of two studies that each say --out model."""
    work, _ = learning(cohort, tmp_path / "first" / "model", uri)
    (tmp_path / "second").mkdir()
    runs = []
    for study, out in (("first", "model"), ("second", "model"), ("first", "./model")):
        monkeypatch.chdir(tmp_path / study)
        runs.append(replace(work, uri=out).log().run_id)
    assert runs[0] == runs[2] == work.log().run_id
    assert runs[1] != runs[0]


def test_a_folder_of_another_training_is_refused(cohort, tmp_path, uri):
    work, taken = learning(cohort, tmp_path, uri)
    remember(Place(work.uri), work.settings, work.split, taken)
    remember(Place(work.uri), work.settings, work.split, taken)
    other = work.settings.model_copy(update={"preset": "small"})
    with pytest.raises(UsageError, match=r"other values of settings\.preset"):
        remember(Place(work.uri), other, work.split, taken)
    with pytest.raises(UsageError, match=r"other values of split\.test"):
        remember(Place(work.uri), work.settings, work.split | {"test": []}, taken)


@pytest.mark.parametrize("content", ["", "[]", '{"settings": '])
def test_a_damaged_note_of_a_training_is_told_with_its_remedy(cohort, tmp_path, uri, content):
    work, taken = learning(cohort, tmp_path, uri)
    place = Place(work.uri)
    remember(place, work.settings, work.split, taken)
    whole = Path(place.settings).read_text()
    Path(place.settings).write_text(content)
    with pytest.raises(
        WeightsError, match=r"training-unreadable: expected a whole settings\.json in .* settings\.json may be removed where"
    ):
        remember(place, work.settings, work.split, taken)
    assert Path(place.settings).read_text() == content
    Path(place.settings).unlink()
    remember(place, work.settings, work.split, taken)
    assert Path(place.settings).read_text() == whole


def test_what_networks_are_told_of_persons_is_that_of_before_and_the_rest_of_their_table_may_change(cohort, tmp_path, uri):
    data = tmp_path / "data"
    shutil.copytree(cohort, data)
    table = data / "participants.tsv"
    table.write_text("participant_id\tsex\tage\tgroup\nsub-01\tf\t26\tx\nsub-02\tm\t40\ty\n")
    work, taken = learning(data, tmp_path / "out", uri, recipe="brain-ldm")
    plain, scans = learning(data, tmp_path / "plain", uri)
    place = Place(work.uri)
    remember(place, work.settings, work.split, taken)
    remember(Place(plain.uri), plain.settings, plain.split, scans)
    assert json.loads(Path(place.settings).read_text())["participants"]["01"] == {
        "sex": 0.0,
        "age": pytest.approx(8 / 42, abs=1e-4),
    }
    table.write_text("participant_id\tage\tsex\tgroup\nsub-02\t40.0\tMale\tz\nsub-01\t26\tF\tx\nsub-03\t50\tf\tx\n")
    remember(place, work.settings, work.split, taken)  # said otherwise, and 03 is of the test
    table.write_text("participant_id\tage\tsex\nsub-01\t62\tF\nsub-02\t40\n")
    with pytest.raises(UsageError, match=r"other values of participants\.01\.age, participants\.02\.sex\. Train into another"):
        remember(place, work.settings, work.split, taken)
    remember(Place(plain.uri), plain.settings, plain.split, scans)  # no network is told of persons
    assert "participants" not in json.loads(Path(Place(plain.uri).settings).read_text())
    noted = json.loads(Path(place.settings).read_text())
    Path(place.settings).write_text(json.dumps({name: value for name, value in noted.items() if name != "participants"}))
    remember(place, work.settings, work.split, taken)  # a folder of before


def test_what_a_stage_measured_is_not_forgotten_where_its_file_is_damaged(tmp_path):
    stage = registry.recipe("score-slices").stages[0]
    settings = TrainSettings(recipe="score-slices", cohort="x", preset="tiny")
    work = Learning(settings, str(tmp_path), {}, {}, "")
    files.write_json(training._measured_file(work, stage), {"sigma_data": 0.3})
    assert training.measured_by(work, stage) == {"sigma_data": 0.3}
    Path(training._measured_file(work, stage)).write_text("")
    with pytest.raises(WeightsError, match=r"training-unreadable: expected a whole measured-score\.json"):
        training.measured_by(work, stage)


@pytest.mark.parametrize(
    ("recipe", "patch", "block"), [("diffusion-iqt-base", 16, 16), ("diffusion-iqt", 48, 48), ("unet-3d", 32, 8)]
)
def test_a_network_that_normalises_over_its_patch_restores_patches_of_the_size_that_it_was_trained_with(
    cohort, tmp_path, uri, recipe, patch, block
):
    how = Training(steps=1, batch=1, validate_every=1, validation_pairs=1, patch=patch)
    work, taken = learning(cohort, tmp_path, uri, recipe=recipe, training=how)
    training.learn(work)
    training.finished(work, taken)
    assert read_bundle(Place(work.uri).model).multiple == block


def test_a_training_goes_on_where_its_scans_were_moved_and_packed_anew_and_not_with_others(cohort, tmp_path, uri):
    """Nor with one scan more; a folder from before scans were noted takes what comes."""
    work, taken = learning(cohort, tmp_path / "out", uri)
    place = Place(work.uri)
    remember(place, work.settings, work.split, taken)
    moved = tmp_path / "moved"
    shutil.copytree(cohort, moved)
    file = moved / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    image = nib.Nifti1Image(np.asarray(nib.load(file).dataobj, np.float32), np.eye(4))
    nib.save(image, file.with_suffix(""))
    file.unlink()
    work, taken = learning(moved, tmp_path / "out", uri)
    remember(place, work.settings, work.split, taken)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[::-1], np.eye(4)), file.with_suffix(""))
    _, others = learning(moved, tmp_path / "out", uri)
    with pytest.raises(UsageError, match=r"other-training: .* other values of scans\.sub-01_T1w\. "):
        remember(place, work.settings, work.split, others)
    more = replace(taken, prints=taken.prints | {"sub-01_T2w": replace(taken.prints["sub-01_T1w"], key="sub-01_T2w")})
    with pytest.raises(UsageError, match=r"other values of scans\.sub-01_T2w\. "):
        remember(place, work.settings, work.split, more)
    noted = json.loads(Path(place.settings).read_text())
    Path(place.settings).write_text(json.dumps({name: noted[name] for name in ("settings", "split")}))
    remember(place, work.settings, work.split, others)


# -- stages -----------------------------------------------------------------------------------------------------------------


class Autoencoder(nn.Module):
    """Half the size and back."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Conv3d(1, 2, 2, 2), nn.ConvTranspose3d(2, 1, 2, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.decoder(self.encoder(image))
        return made


class Reconstruction(Objective):
    """The truth, encoded and decoded."""

    def loss(self, module: str, batch: Batch, draw: torch.Generator, step: int) -> torch.Tensor:  # noqa: ARG002
        return (self.network(batch.truth) - batch.truth).square().mean()

    def restore(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        made: torch.Tensor = network(batch.inputs)
        return made


def latents(draw: Draw, context: Context) -> Dataset[Batch]:
    """Pairs in the latent space of the autoencoder, eight of them, made once."""
    encoder = context.earlier["autoencoder"].encoder

    @torch.no_grad()
    def encoded(example: Batch) -> Batch:
        MADE.append(draw.part)
        return Batch(encoder(example.inputs[None])[0], encoder(example.truth[None])[0], {"kind": torch.ones(1)})

    folder = f"{context.folder}/{draw.part}"
    return Cached(pairs(draw, context), encoded, folder, distinct=min(8, draw.length), length=draw.length)


def written(folder: str, trained: Trained) -> None:
    write_card(folder, trained.card)
    for role, weights in trained.weights.items():
        files.write_json(f"{folder}/{role}.json", {name: value.tolist() for name, value in weights.items()})


MADE: list[str] = []
SIZE = Preset("UNet", {}, 4, 16)
TWO = Recipe(
    "unet-3d",
    "unet-3d",
    {"tiny": lambda: {"autoencoder": SIZE, "denoiser": SIZE}},
    [
        Stage(lambda *_: Reconstruction(Autoencoder()), "autoencoder"),
        Stage(lambda *_: Regression(nn.Conv3d(2, 2, 3, 1, 1)), "denoiser", latents),
    ],
    written,
)


@pytest.fixture
def two_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.registry, "recipe", lambda _: TWO)
    monkeypatch.setattr("core.training.recipe.build", lambda *_: nn.Identity())
    MADE.clear()


@pytest.mark.usefixtures("two_stages")
def test_a_second_stage_builds_on_the_first_and_what_it_makes_is_kept(cohort, tmp_path, uri):
    work, taken = learning(cohort, tmp_path, uri)
    training.learn(work)
    assert sorted(MADE) == ["train"] * 8 + ["validation"] * 2  # of 8 steps and 2 validations each once
    assert training.finished(work, taken).step == 4
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        "README.md",
        "autoencoder.json",
        "card.json",
        "denoiser.json",
        "domain.json",
        "split.json",
    }
    told = (tmp_path / "model" / "README.md").read_text()
    assert "- autoencoder: 4 steps" in told
    assert "- denoiser: 4 steps" in told
    for stage in ("autoencoder", "denoiser"):  # nobody takes the last one's for the method's
        assert f"On validation of the {stage} alone, 2 patches:" in told
    assert {path.name for path in tmp_path.glob("c*.*")} == {
        "checkpoint-autoencoder.safetensors", "checkpoint-denoiser.safetensors", "curve-autoencoder.json", "curve-denoiser.json",
        "cohort.zarr",
    }  # fmt: skip


@pytest.mark.usefixtures("two_stages")
def test_each_stage_takes_its_own_steps_by_its_own_rate(cohort, tmp_path, uri, monkeypatch):
    work, taken = learning(cohort, tmp_path, uri)
    how = work.settings.training.model_dump() | {"steps": {"autoencoder": 6, "denoiser": 2}, "learning_rate": {"denoiser": 1e-5}}
    work = replace(work, settings=work.settings.model_copy(update={"training": Training.model_validate(how)}))
    rates, real = [], Regression.optimizer
    monkeypatch.setattr(Regression, "optimizer", lambda self, name, rate: rates.append(rate) or real(self, name, rate))
    training.learn(work)
    learned = training.finished(work, taken)
    assert (learned.step, learned.total) == (2, 2)
    assert rates == [1e-5]
    assert "- autoencoder: 6 steps" in (tmp_path / "model" / "README.md").read_text()


@pytest.mark.usefixtures("two_stages")
@pytest.mark.parametrize("stopped", [2, 4, 7])
def test_a_training_in_stages_that_was_stopped_ends_with_the_bytes_of_one_that_was_not(cohort, tmp_path, uri, stopped):
    whole, taken = learning(cohort, tmp_path / "whole", uri)
    training.learn(whole)
    training.finished(whole, taken)
    work, _ = learning(cohort, tmp_path / "stopped", uri)
    steps = []

    def stop(*_):
        steps.append(1)
        if len(steps) > stopped + 2:  # with what is told of the steps of before, once a stage
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.learn(replace(work, settings=frequently(work.settings)), stop)
    training.learn(work)
    training.finished(work, taken)
    for name in ("autoencoder", "denoiser"):
        first, second = ((tmp_path / out / "model" / f"{name}.json").read_text() for out in ("whole", "stopped"))
        assert first == second


def frequently(settings: TrainSettings) -> TrainSettings:
    how = settings.training.model_copy(update={"checkpoint_minutes": 0.0})
    return settings.model_copy(update={"training": how})


@pytest.mark.usefixtures("two_stages")
def test_without_a_validation_of_every_stage_there_is_no_model(cohort, tmp_path, uri):
    work, taken = learning(cohort, tmp_path, uri)
    how = work.settings.training.model_copy(update={"minutes": 1e-9})
    training.learn(replace(work, settings=work.settings.model_copy(update={"training": how})))
    found = training.finished(work, taken)
    assert (found.role, found.step, found.best_step) == ("autoencoder", 0, 0)
    assert not (tmp_path / "model").exists()


def test_the_folder_of_a_training_from_when_recipes_were_called_methods_is_gone_on_with(cohort, tmp_path, uri):
    work, taken = learning(cohort, tmp_path, uri)
    place = Place(work.uri)
    remember(place, work.settings, work.split, taken)
    noted = json.loads(Path(place.settings).read_text())
    noted["settings"]["method"] = noted["settings"].pop("recipe")
    Path(place.settings).write_text(json.dumps(noted))
    remember(place, work.settings, work.split, taken)
    assert TrainSettings(method="unet-3d", cohort="x") == TrainSettings(recipe="unet-3d", cohort="x")


# -- faults -----------------------------------------------------------------------------------------------------------------


def test_no_scan_at_all_is_said(tmp_path):
    settings = TrainSettings(recipe="unet-3d", cohort=str(tmp_path))
    with pytest.raises(UsageError, match="at least one scan"):
        intake.ingest(Place(str(tmp_path / "out")), settings, lambda *_: None)


def test_scans_of_one_folder_are_one_person_whom_the_split_keeps_together(tmp_path):
    for path in ("p1/T1.nii.gz", "p1/T2.nii.gz", "p2/T1.nii.gz"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        image = nib.Nifti1Image(np.random.default_rng(0).random((32, 32, 32), np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
        nib.save(image, tmp_path / path)
    settings = TrainSettings(recipe="unet-3d", cohort=str(tmp_path), split={"test": ("p2",)})
    taken = intake.ingest(Place(str(tmp_path / "out")), settings, lambda *_: None)
    assert {person: len(keys) for person, keys in taken.people.items()} == {"p1": 2, "p2": 0}


@pytest.fixture(scope="module", params=[".nii", ".nii.gz"])
def copies(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Persons 01 and 02 are one, packed alike or not; so are 03 and 04."""
    root = tmp_path_factory.mktemp("copies")
    for n, texture in ((1, 1), (2, 1), (3, 3), (4, 3)):
        head = np.random.default_rng(texture).gamma(4, 20, (32, 32, 32)).astype(np.float32)
        file = root / f"sub-{n:02d}" / "anat" / f"sub-{n:02d}_T1w{request.param if n == 2 else '.nii'}"
        file.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(head, np.diag([2.0, 2.0, 2.0, 1.0])), file)
    return root


@pytest.mark.parametrize(("validation", "test"), [(("02",), ()), (("01",), ("02",)), (("03", "04"), ("02",))])
def test_a_scan_of_two_parts_under_two_labels_is_refused_by_both_names(copies, tmp_path, validation, test):
    settings = TrainSettings(recipe="unet-3d", cohort=str(copies), split=Split(validation=validation, test=test))
    taken = intake.ingest(Place(str(tmp_path)), settings, lambda *_: None)
    person = r"0[12] \(sub-0[12]_T1w\) of \w+"
    with pytest.raises(UsageError, match=rf"split-leak: .* {person}, which is {person}\. Leave"):
        intake.divided(taken, settings)


def test_copies_within_one_part_are_left_alone(copies, tmp_path):
    settings = TrainSettings(recipe="unet-3d", cohort=str(copies), split=Split(validation=("03", "04")))
    taken = intake.ingest(Place(str(tmp_path)), settings, lambda *_: None)
    assert intake.divided(taken, settings) == {"train": ["01", "02"], "validation": ["03", "04"], "test": []}


def test_a_picture_shows_input_restored_truth_and_errors_side_by_side():
    images = [torch.full((3, 1, 8, 8, 8), value) for value in (0.2, 0.5, 0.5)]
    batch = Batch(images[0], images[2])
    shown = Regression(torch.nn.Identity()).shown(batch, images[1])
    picture = run_log.mosaic(shown)
    assert picture.shape == (24, 40)
    assert picture.dtype == np.uint8
    assert (picture[:, 32:] == int(0.5 * 255)).all()  # no error: grey
    assert (picture[:, 24:32] == 0).all()  # too dark
