"""A new champion changes nothing of a cohort until that is told; what it would mean is planned; what is gone is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from core.engine.plan import CohortPlan
from core.engine.records import ScanRecord
from core.errors import UsageError
from core.io import files
from core.io.output import END_OF_SCRIPT, VOLUMES, Output
from core.methods.registry import shipped
from core.models import bundle as bundles
from core.networks import build
from core.settings.run import RunSettings
from flows.runs.home import home, tracking_uri
from flows.weights import choose_weights
from tasks.pipeline.changes import changes_of, note_removed, nothing_new, seen_now
from tasks.pipeline.discover import plan_cohort, unfinished
from tasks.registry.models import Models
from tests.phantoms import brain

torch = pytest.importorskip("torch")
from safetensors.torch import load_file, save_file  # noqa: E402 - it wants torch

UNET = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "channels": [2, 4], "strides": [2]}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once, for MLflow takes seconds to make its tables."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def own(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOVOX_HOME", str(registry))


def net_of(folder: Path) -> str:
    """The model's name in a test: its folder's."""
    return folder.parent.name.replace("_", "-")


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    for n in range(3):
        add_scan(tmp_path / "bids", n)
    return tmp_path / "bids"


def add_scan(folder: Path, n: int, seed: int | None = None) -> None:
    image, _ = brain((32, 32, 32), seed=n if seed is None else seed)
    path = folder / f"sub-{n:02}" / "anat" / f"sub-{n:02}_T1w.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(image.astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0])), path)


def champion(folder: Path, bias: float) -> str:
    """A network that adds a little, as champion; its version."""
    state = {name: torch.zeros_like(tensor) for name, tensor in build("UNet", UNET).state_dict().items()}
    last = [name for name in state if name.endswith("bias")][-1]
    state[last] = torch.full_like(state[last], bias)
    bundles.save_model(str(folder), "UNet", UNET, state, "a test", residual=True, multiple=4)
    models = Models(tracking_uri(None), home() / "models")
    version = models.add(str(folder), net_of(folder))
    models._client.set_registered_model_alias(net_of(folder), "champion", version.version)
    return version.version


def settings_of(cohort: Path, **more: object) -> RunSettings:
    said = {
        "input": str(cohort),
        "out": str(cohort.parent / "out"),
        "method": "network",
        "model": f"models:/{net_of(cohort)}@champion",
    }
    return RunSettings.model_validate(said | {"voxel_size": 2.0} | more)


def finish(plan: CohortPlan) -> Output:
    """Leave what a run of the plan leaves, as far as the next one looks at it."""
    out = Output(plan.settings.out)
    files.write_json(out.plan, plan.model_dump(mode="json"))
    for scan in plan.scans:
        path = f"{scan.stem}.nii.gz"
        files.write_atomic(out.path(path), scan.key.encode())
        for page in (out.scan_page(scan.key), out.viewer_page(scan.key), out.cohort_page):
            files.write_atomic(page, b"</html>")
        for name in VOLUMES:
            files.write_atomic(out.volume(scan.key, name), END_OF_SCRIPT)
        for there in (out.picture(scan.key), out.thumbnail(scan.key), out.viewer_script):
            files.write_atomic(there, b"a picture, or a script")
        made = {path: files.sha256(out.path(path))}
        out.write_record(
            ScanRecord(key=scan.key, state="done", digest=scan.digest, inputs={scan.relative: scan.sha256}, outputs=made)
        )
    return out


def test_a_cohort_keeps_its_model_until_it_is_told(cohort: Path, tmp_path: Path) -> None:
    first = champion(tmp_path / "a", 0.0)
    settings = settings_of(cohort)
    finish(plan_cohort(settings, choose_weights(settings).weights))
    second = champion(tmp_path / "b", 0.5)
    add_scan(cohort, 3)

    choice = choose_weights(settings)
    assert choice.weights is not None
    assert choice.newer is not None
    assert (choice.weights.version, choice.newer.version) == (first, second)
    plan = plan_cohort(settings, choice.weights)
    assert unfinished(plan) == {"sub-03_T1w"}
    changes = changes_of(plan, unfinished(plan), choice.newer)
    assert (len(changes.unchanged), changes.would_redo, changes.newer) == (3, 4, f"{net_of(cohort)} version {second}")
    assert "set on_new_model to redo" in changes.notes()[0]
    would = CohortPlan.model_validate(files.read_json(Output(settings.out).redo))
    assert would.weights == choice.newer

    redo = settings.model_copy(update={"on_new_model": "redo"})
    told = choose_weights(redo)
    assert (told.weights, told.newer) == (choice.newer, None)
    plan = plan_cohort(redo, told.weights)
    assert len(unfinished(plan)) == 4
    changes = changes_of(plan, unfinished(plan), told.newer)
    assert (changes.new, len(changes.again)) == (("sub-03_T1w",), 3)
    assert not files.exists(Output(settings.out).redo)


def test_a_choice_keeps_the_models_that_its_output_was_made_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default a nightly cohort is not redone where another network is promoted; what it would mean is told."""
    monkeypatch.setenv("ISOVOX_HOME", str(tmp_path / "home"))
    for n, suffix in enumerate(("T1w", "angio")):
        path = tmp_path / "bids" / f"sub-{n:02}" / "anat" / f"sub-{n:02}_{suffix}.nii.gz"
        path.parent.mkdir(parents=True)
        image, _ = brain((60, 60, 15), head=True)
        nibabel.save(nibabel.Nifti1Image(image, np.diag([1.0, 1.0, 4.0, 1.0])), path)
    how = {"input": str(tmp_path / "bids"), "out": str(tmp_path / "out"), "slices": {"slice_gap": 0.0}}
    settings = RunSettings.model_validate(how)
    first = choose_weights(settings)
    finish(plan_cohort(settings, first.weights, first.others))

    folder = tmp_path / "own"
    shutil.copytree(str(shipped("anyscan")), folder)
    tensors, config = folder / "model.safetensors", folder / "config.json"
    recorded = files.sha256(str(tensors))
    save_file({name: 2 * tensor for name, tensor in load_file(tensors).items()}, tensors)
    config.write_text(config.read_text().replace(recorded, files.sha256(str(tensors))))
    models = Models(tracking_uri(None), home() / "models")
    name = first.others["anyscan"].name
    second = models.add(str(folder), name).version
    models._client.set_registered_model_alias(name, "champion", second)

    choice = choose_weights(settings)
    assert (choice.others["anyscan"], choice.newer_others["anyscan"].version) == (first.others["anyscan"], second)
    plan = plan_cohort(settings, choice.weights, choice.others)
    assert unfinished(plan) == set()
    changes = changes_of(plan, unfinished(plan), choice.newer, choice.newer_others)
    assert (len(changes.unchanged), changes.would_redo, changes.newer) == (2, 1, f"{name} version {second}")
    redo = choose_weights(settings.model_copy(update={"on_new_model": "redo"}))
    assert (redo.others["anyscan"].version, redo.kept()) == (second, [])


def test_a_version_that_is_named_is_used(cohort: Path, tmp_path: Path) -> None:
    champion(tmp_path / "a", 0.0)
    finish(plan_cohort(settings_of(cohort), choose_weights(settings_of(cohort)).weights))
    second = champion(tmp_path / "b", 0.5)
    choice = choose_weights(settings_of(cohort, model=f"models:/{net_of(cohort)}/{second}"))
    assert choice.weights is not None
    assert (choice.weights.version, choice.newer) == (second, None)


def test_an_output_whose_model_is_gone_is_not_mixed_with_another(cohort: Path, tmp_path: Path) -> None:
    first = champion(tmp_path / "a", 0.0)
    finish(plan_cohort(settings_of(cohort), choose_weights(settings_of(cohort)).weights))
    champion(tmp_path / "b", 0.5)
    Models(tracking_uri(None), home() / "models")._client.delete_model_version(net_of(cohort), first)
    with pytest.raises(UsageError, match=r"model-gone: expected models:/\S+/1, which made the output, .* --on-new-model redo"):
        choose_weights(settings_of(cohort))


def test_new_changed_and_removed_are_told_apart(cohort: Path) -> None:
    settings = settings_of(cohort, method="cubic", model=None)
    out = finish(plan_cohort(settings))
    add_scan(cohort, 0, seed=9)
    add_scan(cohort, 3)
    files.remove(str(cohort / "sub-02"))
    plan = plan_cohort(settings)
    found = changes_of(plan, unfinished(plan))
    assert (found.new, found.changed, found.unchanged, found.removed) == (
        ("sub-03_T1w",),
        ("sub-00_T1w",),
        ("sub-01_T1w",),
        ("sub-02_T1w",),
    )
    assert found.counts() == "1 new, 1 changed, 1 unchanged, 1 removed"
    note_removed(out, found.removed)
    since = json.loads(Path(out.removed).read_text())
    note_removed(out, found.removed)
    assert json.loads(Path(out.removed).read_text()) == since
    note_removed(out, ())
    assert not Path(out.removed).exists()


def test_scans_that_are_not_selected_are_not_gone(cohort: Path) -> None:
    settings = settings_of(cohort, method="cubic", model=None)
    finish(plan_cohort(settings))
    some = settings.model_copy(update={"selection": settings.selection.model_copy(update={"participant_label": ("00",)})})
    plan = plan_cohort(some)
    assert changes_of(plan, unfinished(plan)).removed == ()


def test_a_quick_look_sees_each_kind_of_change(cohort: Path) -> None:
    settings = settings_of(cohort, method="cubic", model=None).model_dump(mode="json")
    out = Output(settings["out"])
    files.write_atomic(out.cohort_page, b"</html>")
    seen = seen_now(settings, None)
    files.write_json(out.seen, seen)
    assert nothing_new(out, seen_now(settings, None))
    assert nothing_new(out, seen_now(settings | {"compute": {}}, None))
    assert not nothing_new(out, seen_now(settings | {"voxel_size": 1.0}, None))
    add_scan(cohort, 0, seed=9)
    assert not nothing_new(out, seen_now(settings, None))
    files.write_json(out.seen, seen_now(settings, None))
    files.remove(str(cohort / "sub-01"))
    assert not nothing_new(out, seen_now(settings, None))
    assert seen_now(settings | {"input": str(cohort / "sub-00" / "anat" / "sub-00_T1w.nii.gz")}, None) is None


def test_an_output_within_its_input_does_not_look_new(cohort: Path) -> None:
    settings = settings_of(cohort, out=str(cohort / "derivatives" / "isovox")).model_dump(mode="json")
    before = seen_now(settings, None)
    files.write_atomic(f"{settings['out']}/report.html", b"</html>")
    assert seen_now(settings, None) == before
