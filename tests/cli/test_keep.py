"""``isovox verify`` tells every damage by its name; ``isovox clean`` takes what may go and nothing else."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cli import main as cli
from core.engine.iterate import Checkpoint
from core.io.arrays.store import Store
from core.io.claim import mark
from core.io.lock import cohort_lock
from core.methods.iterative import State
from tasks.restore.tiles import prepare_tiles, restore_some_tiles
from tasks.restore.work import Job
from tests.faults.cohorts import build_cohort, products
from tests.outputs import restore_all

STORE = "isovox/cohort.zarr"
SCAN = "sub-02/anat/sub-02_desc-restored_T1w"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return build_cohort(tmp_path_factory.mktemp("cohort") / "bids", 3, (30, 36, 10))


@pytest.fixture(scope="module")
def reference(cohort, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("reference") / "out"
    restore_all(str(cohort), str(out))
    with sqlite3.connect(out / "isovox" / "mlflow.db") as made:
        made.execute("create table runs (a)")
        made.executemany("insert into runs values (?)", [("x" * 500,)] * 100)
    return out


@pytest.fixture
def source(cohort, tmp_path) -> Path:
    """A copy of the input, to take scans from."""
    return Path(shutil.copytree(cohort, tmp_path / "bids"))


@pytest.fixture
def out(reference, source, tmp_path) -> Path:
    """A copy of the output, to damage, with an input of its own."""
    copy = Path(shutil.copytree(reference, tmp_path / "out"))
    restore_all(str(source), str(copy))
    return copy


def isovox(*words: object) -> int:
    return cli.main([str(word) for word in words])


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def everything(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


# -- verify -----------------------------------------------------------------------------------------------------------------


def test_a_sound_output_is_told_so(reference, capsys):
    assert isovox("verify", reference) == 0
    assert capsys.readouterr().out == (
        "verified 3 scans: 6 files by sha256, 9 images by every block; no problem\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "harm", "code"),
    [
        (f"{SCAN}.nii.gz", change, "output-damaged"),
        (f"{SCAN}.nii.gz", Path.unlink, "output-missing"),
        (f"{SCAN}.json", tear, "output-damaged"),
        ("isovox/scans/sub-02_T1w.json", tear, "record-damaged"),
        (f"{STORE}/sub-02_T1w/measured/image/c/0/0/0", change, "block-torn"),
        (f"{STORE}/sub-02_T1w/cubic/restored/image/c/0/0/0", Path.unlink, "block-missing"),
        (f"{STORE}/sub-02_T1w/cubic/consistency/zarr.json", tear, "image-missing"),
        (f"{STORE}/sub-02_T1w/measured/z/c/0", Path.unlink, "block-missing"),
        ("reports/sub-02_T1w.html", tear, "page-damaged"),
        ("reports/sub-02_T1w_viewer.html", Path.unlink, "page-damaged"),
        ("reports/niivue.js", Path.unlink, "page-damaged"),
        ("reports/sub-02_T1w/restored.js", tear, "page-damaged"),
        ("reports/sub-02_T1w/cubic.js", Path.unlink, "page-damaged"),
        ("reports/sub-02_T1w/consistency.js", tear, "page-damaged"),
        ("reports/sub-02_T1w.jpg", tear, "picture-damaged"),
        ("reports/sub-02_T1w/thumbnail.webp", tear, "picture-damaged"),
        ("reports/sub-02_T1w/thumbnail.webp", Path.unlink, "picture-damaged"),
        (f"{STORE}/zarr.json", tear, "group-damaged"),
        (f"{STORE}/sub-02_T1w/zarr.json", Path.unlink, "group-damaged"),
        (f"{STORE}/sub-02_T1w/cubic/zarr.json", tear, "group-damaged"),
        ("report.html", tear, "page-damaged"),
        ("isovox/plan.json", tear, "plan-damaged"),
        ("dataset_description.json", tear, "description-damaged"),
        ("isovox/mlflow.db", tear, "database-damaged"),
    ],
)
def test_each_damage_is_one_line_with_its_remedy(out, capsys, path, harm: Callable, code):
    harm(out / path)
    assert isovox("verify", out) == 3
    line, count = capsys.readouterr().out.splitlines()
    assert count.endswith("; 1 problem")
    where, told, rest = line.split(": ", 2)
    assert path.startswith(where)
    assert told == code
    assert ", but got " in rest
    assert any(remedy in rest for remedy in ("un again", "isovox report", "Put back a copy", "--mend"))


def test_status_tells_what_people_said(out, capsys, tmp_path):
    table = tmp_path / "ratings.tsv"
    table.write_text("scan\trating\tremark\nsub-02_T1w\treject\tghost\nsub-77_T1w\tkeep\tn/a\n")
    assert isovox("status", out, "--ratings", table) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2] == "sub-02_T1w: reject: ghost"
    assert lines[-1] == "ratings: 1 of 3 scans: 0 keep, 0 doubt, 1 reject; 1 of scans that are not here"


def test_a_plan_whose_bytes_changed_is_told(out, capsys):
    plan = json.loads((out / "isovox" / "plan.json").read_text())
    plan["scans"][0]["digest"] = "0" * 64
    (out / "isovox" / "plan.json").write_text(json.dumps(plan))
    assert isovox("verify", out) == 3
    assert "isovox/plan.json: plan-damaged" in capsys.readouterr().out


def test_all_damage_is_told_not_only_the_first(out, capsys):
    for path in ("reports/sub-01_T1w.html", f"{SCAN}.nii.gz", f"{STORE}/sub-03_T1w/measured/image/c/0/0/0"):
        change(out / path) if path.endswith("0") else tear(out / path)
    assert isovox("verify", out) == 3
    assert capsys.readouterr().out.count("\n") == 4


def test_scans_of_damaged_outputs_are_among_those_that_the_next_run_makes_anew(out, source, capsys):
    expected = products(out)
    tear(out / f"{SCAN}.nii.gz")
    assert isovox("verify", out, "--mend") == 3
    assert (
        f"1 scan will be made anew by the next run: {SCAN.rpartition('/')[2].replace('_desc-restored', '')}"
        in capsys.readouterr().out
    )
    restore_all(str(source), str(out))
    assert isovox("verify", out) == 0
    assert products(out) == expected


def test_what_is_mended_is_made_anew_by_the_next_run_with_the_same_bytes(out, source, capsys):
    expected = products(out)
    for path in ("measured/image/c/0/0/0", "cubic/restored/image/c/0/0/0", "cubic/consistency/x/c/0"):
        change(out / STORE / "sub-02_T1w" / path)
    assert isovox("verify", out, "--mend") == 3
    assert "1 scan will be made anew by the next run: sub-02_T1w" in capsys.readouterr().out
    assert isovox("verify", out) == 0
    assert "verified 2 scans" in capsys.readouterr().out
    restore_all(str(source), str(out))
    assert isovox("verify", out) == 0
    assert products(out) == expected


def test_torn_metadata_of_groups_are_mended_at_once_and_no_scan_is_made_anew(out, capsys):
    nodes = [out / STORE / path / "zarr.json" for path in ("", "sub-02_T1w", "sub-02_T1w/cubic")]
    before = [node.read_bytes() for node in nodes]
    for node in nodes:
        tear(node)
    assert isovox("verify", out, "--mend") == 3
    assert "0 scans will be made anew" in capsys.readouterr().out
    assert [node.read_bytes() for node in nodes] == before
    assert isovox("verify", out) == 0


def test_torn_metadata_of_the_store_do_not_outlast_a_scan_that_is_made_anew(out, source):
    tear(out / STORE / "zarr.json")
    shutil.rmtree(out / STORE / "sub-02_T1w")
    (out / "isovox" / "scans" / "sub-02_T1w.json").unlink()
    restore_all(str(source), str(out))
    assert isovox("verify", out) == 0


@pytest.fixture
def harmonized(out, tmp_path) -> Path:
    """An output of ``isovox harmonize``: a site's run, and scans that were made of its own, which have neither plan nor pages."""
    whole = tmp_path / "whole"
    site, made = whole / "north", whole / "harmonized" / "north"
    shutil.copytree(out, site)
    for path in ("dataset_description.json", "isovox/scans", *(f"sub-0{n}" for n in (1, 2, 3))):
        copy = shutil.copytree if (out / path).is_dir() else shutil.copy
        (made / path).parent.mkdir(parents=True, exist_ok=True)
        copy(out / path, made / path)
    for folder, kind in ((whole, "harmonize"), (site, "run")):
        (folder / "isovox").mkdir(exist_ok=True)
        (folder / "isovox" / "kind.json").write_text(json.dumps({"Kind": kind}))
    return whole


def test_an_output_of_harmonising_is_verified_site_by_site(harmonized, capsys):
    assert isovox("verify", harmonized) == 0
    assert "verified 6 scans: 12 files by sha256, 9 images by every block; no problem" in capsys.readouterr().out
    change(harmonized / "harmonized" / "north" / f"{SCAN}.nii.gz")
    change(harmonized / "north" / STORE / "sub-01_T1w" / "measured/image/c/0/0/0")
    assert isovox("verify", harmonized) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"north/{STORE}/sub-01_T1w/measured: block-torn")
    assert lines[1].startswith(f"harmonized/north/{SCAN}.nii.gz: output-damaged")
    assert lines[2].endswith("2 problems")


def test_harmonised_scans_lack_no_pages_and_lose_no_record(harmonized, capsys):
    made = harmonized / "harmonized" / "north"
    change(made / f"{SCAN}.nii.gz")
    assert isovox("verify", made, "--mend") == 3
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1] for line in lines[:-2]] == ["output-damaged"]
    assert len(list((made / "isovox" / "scans").iterdir())) == 3


def test_where_harmonising_made_no_site_yet_that_is_said(tmp_path, capsys):
    (tmp_path / "isovox").mkdir()
    (tmp_path / "isovox" / "kind.json").write_text('{"Kind": "harmonize"}')
    assert isovox("verify", tmp_path) == 2
    assert "no-run: expected sites in" in capsys.readouterr().err.lower()


def test_scans_that_wait_or_failed_are_no_damage(out, capsys):
    (out / "isovox/scans/sub-01_T1w.json").unlink()
    record = json.loads((out / "isovox/scans/sub-02_T1w.json").read_text())
    (out / "isovox/scans/sub-02_T1w.json").write_text(json.dumps(record | {"state": "failed", "outputs": {}}))
    for path in record["outputs"]:
        (out / path).unlink()
    assert isovox("verify", out) == 0
    told = capsys.readouterr().out
    assert "verified 1 scan:" in told
    assert "1 failed scan has none; 1 wait for the next run; no problem" in told


@pytest.mark.parametrize("command", ["verify", "clean"])
def test_a_folder_without_a_run_is_refused_and_left_alone(command, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert isovox(command, tmp_path) == 2
    assert "no-run: expected an output folder of isovox" in capsys.readouterr().err
    assert everything(tmp_path) == {"notes.txt": b"mine"}


@pytest.mark.parametrize("command", ["verify", "clean"])
def test_nothing_is_done_while_a_run_works(command, out, capsys):
    with cohort_lock(str(out / "isovox" / "lock.json")):
        assert isovox(command, out) == 75
    assert "already-running" in capsys.readouterr().err


# -- clean ------------------------------------------------------------------------------------------------------------------

FOREIGN = {
    "notes.txt": b"mine",
    "sub-02/anat/.sub-02_T1w.tmp": b"mine",
    "sub-03/anat/sub-03_desc-mine_T1w.nii.gz": b"mine",
    "reports/mine.html": b"mine",
    "isovox/scans/.nothing.json": b"{}",
    "isovox/state/mine.safetensors": b"mine",
    "isovox/state/mine.json": b"{}",
    f"{STORE}/sub-03_T1w/mine/zarr.json": b'{"zarr_format": 3, "node_type": "group", "attributes": {}}',
    f"{STORE}/mine/measured/zarr.json": b'{"zarr_format": 3, "node_type": "group", "attributes": {}}',
}
LEFT = {
    "sub-02/anat/.sub-02_desc-restored_T1w.nii.gz.12-34-0123abcd.tmp": b"half",
    "isovox/.plan.json.1-2-00000000.tmp": b"half",
    f"{STORE}/sub-01_T1w/measured/image/c/0/0/0.5f.partial": b"half",
}


def put(out: Path, some: dict[str, bytes]) -> None:
    for path, content in some.items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes(content)


def test_a_clean_output_has_nothing_to_remove(out, capsys):
    before = everything(out)
    assert isovox("clean", out, "--yes") == 0
    assert capsys.readouterr().out == "nothing to remove\n"
    assert everything(out) == before


def test_scratch_goes_without_a_question_and_nothing_else(out, capsys):
    put(out, FOREIGN)
    before = everything(out)
    put(out, LEFT)
    assert isovox("clean", out) == 0
    told = capsys.readouterr().out
    assert "scratch" in told
    assert "removed 3 files, 12 B" in told
    assert everything(out) == before


def tiles(source: Path, out: Path) -> None:
    """A run in tile mode that was killed after its first tile of each scan."""
    plan = restore_all(str(source), str(out), tiling={"mode": "tile", "patch": 24, "overlap": 8})
    for scan in plan.scans[:2]:
        shutil.rmtree(out / STORE / scan.key / "cubic" / "restored")
        job = Job(str(out), plan.digest, (scan.key,), first=0, stop=1)
        assert prepare_tiles(job)[0] >= 1
        restore_some_tiles(job)


def test_tiles_that_the_next_run_would_go_on_with_are_asked_for(out, source, capsys):
    tiles(source, out)
    store = Store(str(out / STORE))
    mark = out / STORE / "sub-02_T1w" / "cubic" / "tiles" / "zarr.json"
    mark.write_text(mark.read_text().replace(store.made_of("sub-02_T1w/cubic/tiles") or "?", "0" * 64))
    assert isovox("clean", out) == 0
    told = capsys.readouterr().out
    assert "tiles of restorations that are done or out of date" in told
    assert "not without --yes" in told
    assert not mark.exists()
    assert store.is_ours("sub-01_T1w/cubic/tiles")
    assert isovox("clean", out, "--yes") == 0
    assert not (out / STORE / "sub-01_T1w" / "cubic" / "tiles").exists()


def half_restored(source: Path, out: Path) -> dict[str, Path]:
    """States by the name of their scan: one to go on with, one of a scan that is done, and one out of date."""
    plan = restore_all(str(source), str(out))
    shutil.rmtree(out / STORE / "sub-01_T1w" / "cubic" / "restored")
    digests = {scan.key: scan.restore_digest for scan in plan.scans} | {"sub-03_T1w": "0" * 64}
    paths = {key: out / "isovox" / "state" / f"{key}.safetensors" for key in digests}
    for key, digest in digests.items():
        Checkpoint(str(paths[key]), digest, 0).save(State({"image": np.ones(3)}, step=2))
    paths["told"] = paths["sub-01_T1w"].with_suffix(".json")
    paths["told"].write_text('{"unit": "steps", "done": 2, "total": 9, "at": 1.5}')
    return paths


def test_states_that_the_next_run_would_go_on_with_are_asked_for(out, source, capsys):
    paths = half_restored(source, out)
    put(out, FOREIGN)
    assert isovox("clean", out) == 0
    told = capsys.readouterr().out
    assert "2 files  states of restorations that are done or out of date" in told
    assert "1 files  progress that killed workers told of" in told
    assert "1 files  states of restorations that the next run would go on with" in told
    assert "remove what saves the next run some work" in told
    assert [key for key, path in paths.items() if path.exists()] == ["sub-01_T1w"]
    assert isovox("clean", out, "--yes") == 0
    assert not paths["sub-01_T1w"].exists()
    assert (out / "isovox/state/mine.safetensors").exists()


def test_states_are_verified_and_told(out, source, capsys):
    path = half_restored(source, out)["sub-02_T1w"]
    isovox("verify", out)
    assert "3 are half restored; " in capsys.readouterr().out
    change(path)
    assert isovox("verify", out) == 3
    told = capsys.readouterr().out
    assert "isovox/state/sub-02_T1w.safetensors: state-damaged: expected whole arrays in " in told
    assert "2 are half restored; " in told


@pytest.fixture
def orphaned(out, source) -> Path:
    """An output with a scan that was taken from the input, and planned again."""
    shutil.rmtree(source / "sub-03")
    restore_all(str(source), str(out))
    put(
        out,
        {f"isovox/mlartifacts/{'0a' * 16}/artifacts/sub-0{n}_T1w.{kind}": b"seen" for n in (1, 3) for kind in ("html", "jpg")},
    )
    return out


def of_sub_03(out: Path) -> list[str]:
    return [path for path in everything(out) if "sub-03" in path]


def test_orphans_are_listed_and_kept_where_nobody_can_be_asked(orphaned, capsys):
    before = everything(orphaned)
    assert len(of_sub_03(orphaned)) > 20
    assert isovox("clean", orphaned) == 0
    told = capsys.readouterr().out
    assert "sub-03_T1w: neither planned nor in the input" in told
    assert "not without --yes" in told
    assert everything(orphaned) == before


@pytest.mark.parametrize("answer", ["y", "n", ""])
def test_at_a_terminal_it_asks(orphaned, capsys, monkeypatch, answer):
    questions = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: questions.append(question) or answer)
    assert isovox("clean", orphaned) == 0
    assert len(questions) == 1
    assert "remove orphans (" in questions[0]
    assert bool(of_sub_03(orphaned)) == (answer != "y")


def test_orphans_go_when_told_and_what_others_wrote_stays(orphaned, capsys):
    put(orphaned, FOREIGN)
    before = everything(orphaned)
    assert isovox("clean", orphaned, "--dry-run", "--yes") == 0
    assert everything(orphaned) == before
    (files,) = re.findall(r"^would remove (\d+) files, ", capsys.readouterr().out, re.MULTILINE)
    assert isovox("clean", orphaned, "--yes") == 0
    assert f"removed {files} files, " in capsys.readouterr().out
    after = everything(orphaned)
    marks = {f"{STORE}/sub-03_T1w/zarr.json", f"{STORE}/sub-03_T1w/cubic/zarr.json"}  # of a group in which something is left
    assert {path for path in before if "sub-03" not in path} | {path for path in FOREIGN if "sub-03" in path} | marks == set(
        after
    )
    assert {path: after[path] for path in FOREIGN} == FOREIGN
    assert not (orphaned / "isovox/scans/sub-03_T1w.json").exists()
    assert isovox("verify", orphaned) == 0
    capsys.readouterr()
    assert isovox("clean", orphaned, "--yes") == 0
    assert "nothing to remove" in capsys.readouterr().out


def test_nothing_is_left_of_an_orphan_that_nobody_touched(orphaned):
    assert isovox("clean", orphaned, "--yes") == 0
    assert of_sub_03(orphaned) == []
    assert len(list((orphaned / "isovox" / "mlartifacts").rglob("sub-01_T1w.*"))) == 2
    assert not (orphaned / "sub-03").exists()
    assert not (orphaned / STORE / "sub-03_T1w").exists()


def test_an_output_that_was_changed_by_others_is_left(orphaned, capsys):
    mine = orphaned / "sub-03/anat/sub-03_desc-restored_T1w.nii.gz"
    mine.write_bytes(b"edited by hand")
    assert isovox("clean", orphaned, "--yes") == 0
    assert "was changed since isovox wrote it" in capsys.readouterr().out
    assert of_sub_03(orphaned) == ["sub-03/anat/sub-03_desc-restored_T1w.nii.gz"]


def test_scans_that_a_run_only_left_out_are_no_orphans(out, source, capsys):
    restore_all(str(source), str(out), selection={"participant_label": ["01"]})
    assert isovox("clean", out, "--yes") == 0
    assert capsys.readouterr().out == "nothing to remove\n"


def test_an_input_that_cannot_be_read_makes_no_orphans(orphaned, source, capsys):
    before = everything(orphaned)
    shutil.move(source, source.with_name("elsewhere"))
    assert isovox("clean", orphaned, "--yes") == 0
    assert "orphans are not looked for, as the input cannot be read: input-missing" in capsys.readouterr().out
    assert everything(orphaned) == before


def test_images_of_a_method_that_is_no_longer_used_are_orphans(out, source, capsys):
    shutil.copytree(out / STORE / "sub-01_T1w" / "cubic", out / STORE / "sub-01_T1w" / "unires")
    before = np.asarray(Store(str(out / STORE)).read("sub-01_T1w/cubic/restored"))
    assert isovox("clean", out, "--yes") == 0
    assert "sub-01_T1w: images of methods that were used before" in capsys.readouterr().out
    assert not (out / STORE / "sub-01_T1w" / "unires" / "restored").exists()
    np.testing.assert_array_equal(Store(str(out / STORE)).read("sub-01_T1w/cubic/restored"), before)


def test_a_scan_of_the_input_is_no_orphan_wherever_the_command_is_given(reference, source, tmp_path, monkeypatch):
    """Of a run that named its input from where it was, when another folder of that name lies where cleaning is asked for."""
    out = Path(shutil.copytree(reference, tmp_path / "out"))
    monkeypatch.chdir(tmp_path)
    restore_all(source.name, "out")
    mark("out", "run", source.name)
    restore_all(source.name, "out", selection={"participant_label": ("01",)})
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(source / "sub-01", elsewhere / source.name / "sub-01")
    monkeypatch.chdir(elsewhere)
    assert isovox("clean", out, "--yes") == 0
    assert sorted(path.name[4:6] for path in out.glob("sub-*")) == ["01", "02", "03"]
    assert isovox("verify", out) == 0
