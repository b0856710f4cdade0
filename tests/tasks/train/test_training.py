"""A training's parts in one process: what is taken in, what is noted, the model and its card."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from core.errors import UsageError
from core.models.bundle import read_bundle
from core.models.cache import load_network
from core.settings.train import Split, Training, TrainSettings
from core.training.data import split_subjects
from tasks.tracking.tracker import make_database
from tasks.train import intake, run_log, training
from tasks.train.intake import Place
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


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("mlflow")
    make_database(folder)
    return f"sqlite:///{folder / 'mlflow.db'}"


def learning(cohort: Path, out: Path, uri: str, **changed) -> tuple[Learning, intake.Cohort]:
    how = Training(steps=4, batch=2, validate_every=2, validation_pairs=2)
    settings = TrainSettings(method="unet-3d", cohort=str(cohort), preset="tiny", training=how, **changed)
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
    split = json.loads(Path(model, "split.json").read_text())
    assert list(split["sha256"]) == ["sub-01_T1w"]


def test_validation_draws_other_patches_than_training(cohort, tmp_path, uri):
    work, _ = learning(cohort, tmp_path, uri)
    one = training.trainer_of(work)
    assert {subject.name for subject in one.pairs.subjects} == {"01"}
    assert {subject.name for subject in one.held.subjects} == {"02"}
    one.held.subjects = one.pairs.subjects  # over the same head the same draws would give the same patches
    for number in range(len(one.held)):
        assert not np.array_equal(one.held[number][1], one.pairs[number][1])


def test_the_scans_of_the_test_are_not_read(cohort, tmp_path):
    settings = TrainSettings(method="unet-3d", cohort=str(cohort), preset="tiny", split=Split(test=("03", "01")))
    taken = intake.ingest(Place(str(tmp_path)), settings, lambda *_: None)
    assert taken.people == {"01": [], "02": ["sub-02_T1w"], "03": []}
    assert list(taken.sha256) == ["sub-02_T1w"]
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


def test_a_folder_of_another_training_is_refused(cohort, tmp_path, uri):
    work, _ = learning(cohort, tmp_path, uri)
    training.remember(Place(work.uri), work.settings, work.split)
    training.remember(Place(work.uri), work.settings, work.split)
    other = work.settings.model_copy(update={"preset": "small"})
    with pytest.raises(UsageError, match=r"other values of settings\.preset"):
        training.remember(Place(work.uri), other, work.split)
    with pytest.raises(UsageError, match=r"other values of split\.test"):
        training.remember(Place(work.uri), work.settings, work.split | {"test": []})


def test_no_scan_at_all_is_said(tmp_path):
    settings = TrainSettings(method="unet-3d", cohort=str(tmp_path))
    with pytest.raises(UsageError, match="at least one scan"):
        intake.ingest(Place(str(tmp_path / "out")), settings, lambda *_: None)


def test_a_picture_shows_input_restored_truth_and_errors_side_by_side():
    import torch

    images = [torch.full((3, 1, 8, 8, 8), value) for value in (0.2, 0.5, 0.5)]
    picture = run_log.triptych(*images)
    assert picture.shape == (24, 40)
    assert picture.dtype == np.uint8
    assert (picture[:, 32:] == int(0.5 * 255)).all()  # no error: grey
    assert (picture[:, 24:32] == 0).all()  # too dark
