"""``isovox methods``: what there is, from the declarations alone, and which model each would use on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import cli.main as cli
from core.methods import registry

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ISOVOX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(["methods", *words]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_all_methods_are_listed_by_family(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    told = said(capsys)
    assert all(f" {name} {entry.title.split()[0]}" in told for name, entry in registry.methods().items())
    places = [told.index(family.title) for family in registry.families()]
    assert places == sorted(places)
    assert "scans of a person together (--fuse)" in told
    assert "no model yet, train unet-3d" in told
    assert "the model that isovox brings; T1w; skull-stripped brain; slices of 3.5 to 4.5 mm" in told
    assert not home.exists()  # to look makes nothing


def test_one_is_shown_with_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "unires")
    assert "source: Brudfors et al. 2018" in told
    assert "iterations = 10: rounds of ADMM at most; few are best: the optimum is a staircase [at least 1; at most 512]" in told
    assert "600,000 voxels a second and core; 48 bytes a voxel" in told
    told = said(capsys, "diffusion-iqt")
    assert "diffusion-iqt-base (without cross-batch and without the deep feature module; paper, small, tiny)" in told
    assert "[ancestral, renoise, ddim, dpm-solver++]" in told
    assert "batch = (not said)" in told
    assert "model =" not in told
    assert "options: none" in said(capsys, "cubic")


def test_an_unknown_one_is_told_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["methods", "unires3"]) == 2
    assert "got unires3. Did you mean unires?" in capsys.readouterr().err


def test_listing_without_a_registry_imports_neither_torch_nor_mlflow(tmp_path: Path) -> None:
    code = "import sys; from cli.main import main; main(['methods']); sys.exit(bool({'torch', 'mlflow'} & set(sys.modules)))"
    environment = os.environ | {"ISOVOX_HOME": str(tmp_path), "PYTHONPATH": str(README.parent)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, stdout=subprocess.DEVNULL)


def test_the_readme_names_what_there_is() -> None:
    text = README.read_text()
    short = {"inverse-sr-ldm": "-ldm", "inverse-sr-red": "-red", "inverse-sr-cg": "-cg"}
    assert [name for name in registry.methods() if f"`{short.get(name, name)}`" not in text] == []


def test_a_choice_is_listed_with_what_it_chooses_among(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "auto")
    assert "chooses among: " in told
    assert "unires" in told
