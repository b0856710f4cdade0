"""Bundles: parts by role come back as they were; version 1 keeps its digest; what is new enters the digest only where set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import core
from core.errors import WeightsError
from core.models.bundle import Bundle, Filled, halve, read_bundle, read_part, save_bundle, save_model
from core.models.cache import load_network
from core.networks import build

torch = pytest.importorskip("torch")

UNET = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "channels": [2, 4], "strides": [2]}
SHIPPED = Path(core.__file__).parent / "methods" / "unet" / "weights" / "resunet-3d"
GOLDEN = "6331b08e6a403c4d6a7449454edee5911fd5ed45df622da114f845caad810998"
PART = {"network": "UNet", "config": {}, "sha256": "0" * 64, "file": "a.safetensors"}
FACTS: dict[str, Any] = {
    "multiple": 8,
    "schedule": {"kind": "scaled-linear", "steps": 1000, "first": 0.0015, "last": 0.0205},
    "prediction": "eps",
    "scaling": {"kind": "range", "low": -1.0},
    "forward": {"kind": "slice-profile"},
}


def filled(channels: tuple[int, int] = (2, 4), seed: int = 0) -> Filled:
    torch.manual_seed(seed)
    config = UNET | {"channels": list(channels)}
    return Filled("UNet", config, build("UNet", config).state_dict())


def two(folder: Path, **facts: Any) -> Bundle:
    return save_bundle(str(folder), {"autoencoder": filled(), "denoiser": filled((4, 8), 1)}, "# Two\n", **facts)


def test_two_parts_come_back_each_with_its_own_numbers(tmp_path):
    spec = two(tmp_path, **FACTS)
    assert read_bundle(str(tmp_path)) == spec
    assert spec.version == 2
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json",
        "README.md",
        "autoencoder.safetensors",
        "denoiser.safetensors",
    }
    for role, part in {"autoencoder": filled(), "denoiser": filled((4, 8), 1)}.items():
        loaded = load_network(str(tmp_path), spec, "cpu", role).state_dict()
        assert loaded.keys() == part.tensors.keys()
        assert all(torch.equal(loaded[name], tensor) for name, tensor in part.tensors.items())
    assert (spec.schedule, spec.prediction, spec.multiple) == (FACTS["schedule"], "eps", 8)


def test_who_asks_for_the_one_network_of_two_or_for_a_part_that_is_not_there_is_told(tmp_path):
    spec = two(tmp_path)
    with pytest.raises(
        WeightsError, match=r"model-unfit: expected a model of one network, but got the parts autoencoder, denoiser\. Name"
    ):
        load_network(str(tmp_path), spec, "cpu")
    with pytest.raises(WeightsError, match=r"model-unfit: expected a model with the part decoder, but got autoencoder, denoiser"):
        load_network(str(tmp_path), spec, "cpu", "decoder")


def test_the_shipped_model_of_version_1_keeps_its_digest():
    spec = read_bundle(str(SHIPPED))
    assert (spec.version, spec.digest) == (1, GOLDEN)
    assert (spec.network, spec.residual, spec.slices_last, spec.multiple) == ("UNet", True, True, 4)


def test_what_version_1_can_say_is_written_so_to_the_last_byte(tmp_path):
    spec = read_bundle(str(SHIPPED))
    again = save_model(
        str(tmp_path),
        spec.network,
        spec.config,
        read_part(str(SHIPPED), spec.part),
        "",
        residual=True,
        slices_last=True,
        multiple=4,
    )
    assert again.digest == GOLDEN
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / name).read_bytes() == (SHIPPED / name).read_bytes()


@pytest.mark.parametrize("name", ["schedule", "prediction", "scaling", "forward"])
def test_each_new_field_makes_another_digest_and_nothing_else_does(tmp_path, name):
    part = filled()
    plain = save_model(str(tmp_path / "a"), part.network, part.config, part.tensors, "")
    told = save_model(str(tmp_path / "b"), part.network, part.config, part.tensors, "", **{name: FACTS[name]})
    assert (plain.version, told.version) == (1, 2)
    assert read_bundle(str(tmp_path / "b")).digest == told.digest != plain.digest
    assert told.sha256 == plain.sha256


def test_the_digest_of_two_parts_follows_every_part_and_not_their_order(tmp_path):
    parts = {"autoencoder": filled(), "denoiser": filled((4, 8), 1)}
    first = save_bundle(str(tmp_path / "a"), parts, "")
    turned = save_bundle(str(tmp_path / "b"), dict(reversed(parts.items())), "")
    other = save_bundle(str(tmp_path / "c"), parts | {"denoiser": filled((4, 8), 2)}, "")
    assert first.digest == turned.digest != other.digest
    assert first.sha256 == turned.sha256 != other.sha256


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": 2, "parts": {}},
        {"version": 3, "parts": {"a": {}}},
        {"version": 2, "parts": {"a": {"network": "UNet", "config": {}, "sha256": "0" * 64, "file": "../up.safetensors"}}},
        {"version": 2, "parts": {"a": {"network": "UNet", "config": {}, "sha256": "0" * 64, "file": "a.pt"}}},
        {"version": 2, "parts": {"a": PART}, "forward": {"kind": "x-ray"}},
        [],
    ],
    ids=["no parts", "a version to come", "a file elsewhere", "a pickle's name", "a forward model that there is not", "a list"],
)
def test_a_config_that_cannot_be_meant_is_refused(tmp_path, wrong):
    (tmp_path / "config.json").write_text(json.dumps(wrong))
    with pytest.raises(WeightsError, match=r"weights-config: expected a model's config.json, but got .*\. Copy the model again"):
        read_bundle(str(tmp_path))


def test_a_part_of_other_bytes_is_refused_by_its_name(tmp_path):
    spec = two(tmp_path)
    file = tmp_path / "denoiser.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    load_network(str(tmp_path), spec, "cpu", "autoencoder")
    with pytest.raises(WeightsError, match=r"weights-digest: expected denoiser\.safetensors with sha256"):
        load_network(str(tmp_path), spec, "cpu", "denoiser")


def test_a_halved_bundle_keeps_roles_and_facts(tmp_path):
    spec = two(tmp_path / "whole", **FACTS)
    half = halve(str(tmp_path / "whole"), str(tmp_path / "half"))
    assert half.model_dump(exclude={"parts"}) == spec.model_dump(exclude={"parts"})
    for role, part in half.parts.items():
        assert {tensor.dtype for tensor in read_part(str(tmp_path / "half"), part).values()} == {torch.float16}
        assert part.config == spec.parts[role].config
