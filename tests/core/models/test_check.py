"""A model held against this environment: every point is said, and each kind of fault is wrong by its own point."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.models import check
from core.models.bundle import Filled, save_bundle
from core.models.card import Card
from core.models.check import check_model, versions
from core.models.domain import Domain, GainCell, write_domain
from core.networks import build

torch = pytest.importorskip("torch")

UNET = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "channels": [2, 4], "strides": [2]}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Two parts with a schedule, a domain and a card."""
    part = Filled("UNet", UNET, build("UNet", UNET).state_dict())
    write_domain(str(tmp_path), Domain(contrasts=("T1w",)))
    card = Card(title="tiny", versions=versions())
    schedule = {"kind": "linear", "steps": 10, "first": 1e-4, "last": 0.02}
    save_bundle(str(tmp_path), {"encoder": part, "denoiser": part}, card, schedule=schedule)
    return tmp_path


def states(folder: Path) -> dict[str, str]:
    return {point.name: point.state for point in check_model(str(folder))}


def change(folder: Path, **said) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | said))


def test_each_point_of_a_whole_model_is_said(model):
    assert states(model) == dict.fromkeys(
        ("config", "bytes", "network of encoder", "network of denoiser", "schedule", "domain", "card", "versions"), "ok"
    )


def test_the_domain_is_said_in_a_line_and_its_cells_are_counted(model):
    cells = tuple(GainCell(contrast="T1w", factor=factor, gap=0.0, gain=1.0, least=0.5, persons=8) for factor in (2.0, 4.0))
    write_domain(str(model), Domain(contrasts=("T1w",), slice_gap=(0.0, 0.3), tested=cells))
    (said,) = (point.said for point in check_model(str(model)) if point.name == "domain")
    assert said == "T1w; gaps of 0 to 30 %; tested: 2 cells of contrast, factor and gap, 8 persons each"
    assert check._tested(cells[:1]) == ["tested: 1 cell of contrast, factor and gap, 8 persons each"]


def test_what_is_not_stated_is_told_and_not_wrong(model):
    (model / "domain.json").unlink()
    (model / "card.json").unlink()
    found = {point.name: (point.state, point.said) for point in check_model(str(model))}
    assert found["domain"] == ("told", "not stated: no scan is refused by it")
    assert found["card"][0] == "told"
    assert "wrong" not in {state for state, _ in found.values()}


def test_versions_of_the_training_that_are_not_these_are_told(model, monkeypatch):
    monkeypatch.setattr(check, "version", lambda _: "99.1+cpu")
    (point,) = (one for one in check_model(str(model)) if one.name == "versions")
    assert point.state == "told"
    assert "torch " in point.said
    assert "(here 99.1)" in point.said


def test_a_schedule_that_is_not_known(model):
    change(model, schedule={"kind": "spiral"})
    assert states(model)["schedule"] == "wrong"


def test_a_network_that_is_not_known_and_tensors_that_do_not_fit(model):
    parts = json.loads((model / "config.json").read_text())["parts"]
    parts["encoder"]["network"] = "Oracle"
    parts["denoiser"]["config"]["channels"] = [2, 8]
    change(model, parts=parts)
    found = {point.name: point for point in check_model(str(model))}
    assert (found["network of encoder"].state, found["network of denoiser"].state) == ("wrong", "wrong")
    assert "network-unknown" in found["network of encoder"].said
    assert "of another shape" in found["network of denoiser"].said


def test_changed_bytes_are_wrong_and_not_opened(model):
    file = model / "encoder.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x07")
    found = {point.name: point for point in check_model(str(model))}
    assert found["bytes"].state == "wrong"
    assert found["network of encoder"].said == "UNet is known; its tensors were not looked at"


def test_weights_that_are_not_finite(tmp_path):
    state = build("UNet", UNET).state_dict()
    name = next(iter(state))
    state[name] = torch.full_like(state[name], float("nan"))
    save_bundle(str(tmp_path), {"network": Filled("UNet", UNET, state)}, "")
    (point,) = (one for one in check_model(str(tmp_path)) if one.name == "network of network")
    assert (point.state, point.said.partition(":")[0]) == ("wrong", "weights-nonfinite")


def test_no_model_at_all(tmp_path):
    (point,) = check_model(str(tmp_path))
    assert (point.name, point.state) == ("config", "wrong")
