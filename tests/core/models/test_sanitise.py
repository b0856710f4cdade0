"""Metadata without the machine they were made on: what is taken out is told, the digest stays, prose stays prose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.errors import UsageError
from core.models import sanitise as module
from core.models.bundle import Filled, read_bundle, save_bundle
from core.models.card import Card, TrainingData
from core.models.sanitise import own_names, sanitise
from core.networks import build

pytest.importorskip("torch")

UNET = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "channels": [2, 4], "strides": [2]}
NAMES = {"user": ("jroe",), "host": ("gpu07",)}
PRIVATE = (
    "/home/jroe/data",
    "s3://secret/bucket",
    "jane@clinic.org",
    "C:\\scans\\x",
    "\\\\nas\\scans",
    "~jroe/ds1",
    "gpu07",
    "jroe",
)


def model(folder: Path, card: Card | str) -> str:
    save_bundle(str(folder), {"network": Filled("UNet", UNET, build("UNet", UNET).state_dict())}, card)
    (folder / "split.json").write_text(
        json.dumps({"people": {"train": ["01"]}, "cohort": "/data/jroe/ds1", "sha256": {"a": "00"}})
    )
    return str(folder)


def test_what_tells_of_a_machine_is_taken_out_and_told_and_the_digest_stays(tmp_path):
    text = "Ran as `isovox train /home/jroe/data` on gpu07, into s3://secret/bucket, C:\\scans\\x, \\\\nas\\scans and ~jroe/ds1."
    card = Card(title="tiny", training=text, limits="Ask JROE (jane@clinic.org).", data=(TrainingData(name="/data/jroe/ds1"),))
    folder, out = model(tmp_path / "a", card), str(tmp_path / "b")
    done = sanitise(folder, out, NAMES)
    assert read_bundle(out).digest == read_bundle(folder).digest
    written = "".join(Path(out, name).read_text() for name in ("card.json", "README.md", "split.json", "config.json"))
    assert not [one for one in PRIVATE if one.lower() in written.lower().replace("\\\\", "\\")]
    assert {one.kind for one in done.removed} == {"path", "user", "host", "address"}
    assert "/home/jroe/data" in {one.text for one in done.removed}
    assert "`isovox train <path>` on <host>" in written
    assert done.left == ()
    assert json.loads(Path(out, "split.json").read_text())["people"] == {"train": ["01"]}


def test_a_card_of_text_alone_is_cleaned_too(tmp_path):
    folder = model(tmp_path / "a", "# tiny\n\nTrained in /home/jroe/data.\n")
    done = sanitise(folder, str(tmp_path / "b"), {})
    assert (tmp_path / "b" / "README.md").read_text() == "# tiny\n\nTrained in <path>\n"
    assert [one.file for one in done.removed if one.text.startswith("/home")] == ["README.md"]


def test_prose_links_and_doi_stay(tmp_path):
    text = (
        "Mean and/or sd; mm/s, 1/2; https://doi.org/10.18112/openneuro.ds002748.v1.0.5, CC-BY/4.0, root mean square; user guide."
    )
    folder = model(tmp_path / "a", Card(title="tiny", training=text))
    (tmp_path / "a" / "split.json").unlink()
    assert sanitise(folder, str(tmp_path / "b")).removed == ()
    assert Path(tmp_path, "b", "README.md").read_text() == Path(folder, "README.md").read_text()


def test_what_the_digest_depends_on_stays_and_is_told(tmp_path):
    folder = model(tmp_path / "a", "")
    config = json.loads(Path(folder, "config.json").read_text())
    Path(folder, "config.json").write_text(json.dumps(config | {"config": UNET | {"act": "/home/jroe/act"}}))
    (left,) = sanitise(folder, str(tmp_path / "b"), {}).left
    assert (left.file, left.kind, left.text) == ("config.json", "path", "/home/jroe/act")


def test_a_folder_with_something_in_it_is_not_written_to(tmp_path):
    folder = model(tmp_path / "a", "")
    with pytest.raises(UsageError, match=r"folder-taken: expected an empty folder .*\. Name another, or empty it"):
        sanitise(folder, folder)


def test_names_of_this_machine_that_are_nobodys_are_left_alone(monkeypatch):
    monkeypatch.setattr(module.getpass, "getuser", lambda: "root")
    monkeypatch.setattr(module.platform, "node", lambda: "ward3.clinic.org")
    monkeypatch.setattr(module.Path, "home", lambda: Path("/home/jroe"))
    assert own_names() == {"user": ("jroe",), "host": ("ward3", "ward3.clinic.org")}
