"""``isovox models check``, ``sanitise`` and ``import --layout`` as a user calls them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import main as cli
from core.methods import registry
from core.models.bundle import read_bundle, save_model
from core.models.card import Card
from core.networks import build

torch = pytest.importorskip("torch")

UNET = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "channels": [2, 4], "strides": [2]}
FAMILY = '''"""A family that knows a foreign layout."""

from core.methods.family import Family

FAMILY = Family("foreign", "for tests", (), key_maps={"thesis": "foreign.maps:read"})
'''
MAPS = '''"""The layout."""

from core.models.convert import KeyMap, Layout


def read(shapes):
    width = shapes["net.model.0.conv.weight"][0]
    config = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "channels": [width, 4], "strides": [2]}
    return Layout({"network": KeyMap(network="UNet", config=config, prefixes={"net.": ""})}, {"residual": True, "multiple": 4})
'''

KNOWN = '''"""A family that can take in models of others."""

from core.methods.family import Family, ForeignEntry

FAMILY = Family(
    "strangers",
    "for tests",
    (),
    foreign=(
        ForeignEntry("whole", "strangers.maps:read", "two files", "strangers.maps:fetch"),
        ForeignEntry("part", "strangers.maps:read", "two files"),
    ),
)
'''
READS = '''"""Its files."""

import os

import torch

from core.models.bundle import Filled, save_bundle

UNET = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "channels": [2, 4], "strides": [2]}


def read(paths, folder):
    parts = [Filled("UNet", UNET, torch.load(path, weights_only=True)) for path in paths]
    save_bundle(folder, dict(zip(("first", "second"), parts, strict=True)), "two")


def fetch(folder):
    return [os.path.join(os.environ["STRANGERS"], f"{name}.pth") for name in ("first", "second")]
'''


@pytest.fixture(autouse=True)
def own(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("ISOVOX_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture
def model(tmp_path) -> str:
    folder = tmp_path / "model"
    save_model(str(folder), "UNet", UNET, build("UNet", UNET).state_dict(), Card(title="tiny", training="In /home/jroe/data."))
    return str(folder)


def isovox(*words: object) -> int:
    return cli.main([str(word) for word in words])


def test_a_folder_is_checked_point_by_point_and_what_is_wrong_ends_with_3(model, capsys):
    assert isovox("models", "check", model) == 0
    told = capsys.readouterr().out
    assert "numbers that fit it and are finite" in told
    assert "not stated: no scan is refused by it" in told
    file = Path(model, "model.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"\x07")
    assert isovox("models", "check", model) == 3
    assert "weights-digest" in capsys.readouterr().out


def test_what_is_private_is_taken_out_and_said(model, tmp_path, capsys):
    assert isovox("models", "sanitise", model, tmp_path / "clean", "--also", "tiny") == 0
    told = capsys.readouterr().out
    assert "taken out of card.json: path /home/jroe/data" in told
    assert "taken out of card.json: user tiny" in told
    assert f"digest {read_bundle(model).digest[:12]} as before" in told
    assert "jroe" not in (tmp_path / "clean" / "README.md").read_text()
    assert isovox("models", "sanitise", model, tmp_path / "clean") == 2


def test_a_checkpoint_is_imported_by_a_layout_that_a_family_knows(tmp_path, monkeypatch, capsys):
    (tmp_path / "foreign").mkdir()
    for name, text in {"__init__.py": '"""Foreign."""\n', "family.py": FAMILY, "maps.py": MAPS}.items():
        (tmp_path / "foreign" / name).write_text(text)
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path / "foreign"))
    monkeypatch.syspath_prepend(str(tmp_path))
    wide = build("UNet", UNET | {"channels": [6, 4]}).state_dict()
    torch.save({f"net.{name}": tensor for name, tensor in wide.items()}, tmp_path / "theirs.pth")
    assert isovox("models", "import", tmp_path / "theirs.pth", "theirs", "--layout", "thesys") == 2
    assert "layout-unknown: expected one of thesis, but got thesys. Did you mean thesis?" in capsys.readouterr().err
    assert isovox("models", "import", tmp_path / "theirs.pth", "theirs", "--layout", "thesis") == 0
    assert "models:/theirs/1 champion sha256" in capsys.readouterr().out
    assert isovox("models", "check", "theirs") == 0
    assert isovox("models", "export", "theirs", tmp_path / "out") == 0
    spec = read_bundle(str(tmp_path / "out"))
    assert (spec.config["channels"], spec.residual, spec.multiple) == ([6, 4], True, 4)


def test_a_known_model_of_others_is_imported_from_its_files_and_downloaded(tmp_path, monkeypatch, capsys):
    (tmp_path / "strangers").mkdir()
    for name, text in {"__init__.py": '"""Foreign."""\n', "family.py": KNOWN, "maps.py": READS}.items():
        (tmp_path / "strangers" / name).write_text(text)
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path / "strangers"))
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("first.pth", "second.pth"):
        torch.save(build("UNet", UNET).state_dict(), tmp_path / name)
    assert isovox("models", "import", "whole", tmp_path / "first.pth", tmp_path / "second.pth") == 0
    assert "models:/whole/1 champion sha256" in capsys.readouterr().out
    monkeypatch.setenv("STRANGERS", str(tmp_path))
    assert isovox("models", "download", "whole") == 0
    assert "models:/whole/" in capsys.readouterr().out
    assert isovox("models", "download", "part") == 2
    assert "download-none" in capsys.readouterr().err
    assert isovox("models", "import", tmp_path / "first.pth", "a", "b") == 2
    assert "import-several" in capsys.readouterr().err
