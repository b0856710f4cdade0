"""``isovox harmonize`` as a user calls it: three sites in, comparable scans and tables out, the model kept and used again."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from cli import main as cli
from core.harmonize.tables.table import Features
from core.settings.harmonize import HarmonizeSettings
from flows.runs import progress
from tests.cases.test_valid_outputs import VALIDATOR, errors_of
from tests.phantoms import brain

SETTINGS = ("--voxel-size", 4, "--field-of-view", 160, 160, 160, "--workers", 2, "--quiet")


def site(folder: Path, gain: float, count: int, seed: int, step: float = 4.0) -> Path:
    lines = ["participant_id\tage\tsex"]
    for number in range(count):
        anat = folder / f"sub-{number:02}" / "anat"
        anat.mkdir(parents=True)
        image = gain * brain((36, 36, 36), seed=seed + number, noise=3 + number)[0]
        affine = np.diag([-step, step, step, 1.0])
        nibabel.save(nibabel.Nifti1Image(image.astype(np.float32), affine), anat / f"sub-{number:02}_T1w.nii.gz")
        lines.append(f"sub-{number:02}\t{20 + 7 * number + seed % 5}\t{'mf'[number % 2]}")
    (folder / "participants.tsv").write_text("\n".join(lines) + "\n")
    return folder


def isovox(*words: object) -> int:
    return cli.main([str(word) for word in words])


def volumes(out: Path) -> dict[str, bytes]:
    return {str(one.relative_to(out)): one.read_bytes() for one in sorted(out.rglob("*desc-harmonized*.nii.gz"))}


def test_the_form_says_what_each_field_is():
    schema = HarmonizeSettings.model_json_schema()
    for name, field in schema["properties"].items():
        assert field.get("title") or "$ref" in field, name
        assert field.get("description"), name


def test_unusable_words_end_with_2_and_nothing_is_made(tmp_path, capsys):
    assert isovox("harmonize", f"a={tmp_path}", tmp_path / "out", "--intensity", "nyul", "--voxel-size", -1) == 2
    assert "settings: expected " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_rejected_scans_are_left_out_and_that_is_told(tmp_path, capsys, monkeypatch):
    words = [f"{name}={site(tmp_path / name, gain, 3, seed)}" for name, gain, seed in (("oslo", 1, 0), ("bonn", 9, 41))]
    ratings, out = tmp_path / "ratings.tsv", tmp_path / "out"
    ratings.write_text("cohort\tscan\trating\tremark\nbonn\tsub-01_T1w\treject\tghost\noslo\tsub-00_T1w\tdoubt\t\n")
    assert isovox("harmonize", *words, out, "--ratings", tmp_path / "none.tsv", *SETTINGS) == 2
    assert not out.exists()
    monkeypatch.setattr(progress, "_quiet", False)
    assert isovox("harmonize", *words, out, "--ratings", ratings, *SETTINGS[:-1]) == 0
    told, waits = capsys.readouterr()
    assert "starting services, and looking at the sites' scans meanwhile …" in waits
    assert waits.count("3 scans planned") == 2  # each site once, beside the start of services
    assert waits.count("this run in Prefect: http://127.0.0.1:") == 1
    assert "planned 6 = 5 done + 0 flagged + 0 failed + 1 skipped" in told
    assert "left out: 1 scan rejected in ratings.tsv" in told
    assert len(volumes(out)) == 5
    assert not list((out / "bonn").rglob("sub-01*desc-harmonized*"))
    table = (out / "harmonized" / "bonn" / "participants.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in table] == ["participant_id", "sub-00", "sub-02"]
    if VALIDATOR:
        for dataset in ("oslo", "bonn", "harmonized/oslo", "harmonized/bonn"):
            assert errors_of(out / dataset) == [], dataset
    assert "rejected by rating: ghost; left out" in (out / "report.html").read_text()
    # on a second look another is a ghost: what was made of it before is gone
    ratings.write_text(f"{ratings.read_text()}oslo\tsub-02_T1w\treject\tghost\n")
    assert isovox("harmonize", *words, out, "--ratings", ratings, *SETTINGS[:-1]) == 0
    assert "taken away: 1 scan of an earlier call" in capsys.readouterr().out
    assert [Path(name).name for name in volumes(out) if "oslo" in name] == [
        f"sub-{number}_desc-harmonized_T1w.nii.gz" for number in ("00", "01")
    ]
    assert "sub-02" not in (out / "harmonized" / "oslo" / "participants.tsv").read_text()
    models = {json.loads(path.read_text())["Isovox"]["Harmonized"]["Model"] for path in out.rglob("*_desc-harmonized_T1w.json")}
    assert len(models) == 1


@pytest.mark.slow
def test_three_sites_a_resumed_run_and_next_months_scans(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ISOVOX_HOME", str(tmp_path / "home"))  # whose first model becomes its champion
    words = [f"{name}={site(tmp_path / name, gain, 3, seed)}" for name, gain, seed in (("oslo", 1, 0), ("bonn", 9, 41))]
    bad = tmp_path / "bonn" / "sub-02" / "anat" / "sub-02_T1w.nii.gz"
    bad.write_bytes(bad.read_bytes()[:-300])
    out = tmp_path / "out"
    assert isovox("harmonize", *words, out, *SETTINGS) == 3  # one scan is torn, the others are done
    told = capsys.readouterr().out
    assert "planned 6 = 5 done + 0 flagged + 1 failed" in told
    assert "models:/harmonize-nyul/1 (champion)" in told
    first = volumes(out)
    assert len(first) == 5
    assert {nibabel.load(out / name).shape for name in first} == {(40, 40, 40)}
    table = Features.from_tsv(str(out / "features.tsv"))
    assert table.covariates["sex"][:2] == ("M", "F")
    assert "landmarks are percentiles of all tissues" in (out / "report.html").read_text()
    # an unchanged cohort: nothing is written anew
    times = {name: (out / name).stat().st_mtime_ns for name in first}
    assert isovox("harmonize", *words, out, *SETTINGS) == 3
    assert {name: (out / name).stat().st_mtime_ns for name in first} == times
    # next month: the same scans and a new one, by the registered model, elsewhere
    later = tmp_path / "later"
    assert isovox("harmonize", words[0], later, *SETTINGS, "--model", "models:/harmonize-nyul@champion") == 0
    same = volumes(later)
    assert same
    assert all(first[name] == content for name, content in same.items())
    assert isovox("models", "show", "harmonize-nyul") == 0
    assert "Fitted on 2 scans of bonn, 3 scans of oslo" in capsys.readouterr().out
    # a scan that is torn by then is not there as it was last month
    torn = tmp_path / "oslo" / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    torn.write_bytes(torn.read_bytes()[:-300])
    assert isovox("harmonize", words[0], later, *SETTINGS, "--model", "models:/harmonize-nyul@champion") == 3
    assert volumes(later) == {name: content for name, content in same.items() if "sub-01" not in name}
    assert "sub-01" not in (later / "harmonized" / "oslo" / "participants.tsv").read_text()
