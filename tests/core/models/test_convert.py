"""A checkpoint becomes a model whose every tensor landed where the map says, or nothing is written and the strays are named."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from pathlib import Path

import pytest

from core.errors import UsageError, WeightsError
from core.models.bundle import read_bundle
from core.models.cache import load_network
from core.models.convert import KeyMap, Layout, arranged, check_fit, convert, convert_by, read_map
from core.models.domain import Domain, read_domain
from core.models.weights import read_tensors
from core.networks import build

torch = pytest.importorskip("torch")

UNET = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "channels": [2, 4], "strides": [2]}


def theirs(prefix: str = "module.") -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return OrderedDict((prefix + name, tensor) for name, tensor in build("UNet", UNET).state_dict().items())


def key_map(**said) -> KeyMap:
    return KeyMap(network="UNet", config=UNET, **{"prefixes": {"module.": ""}, "multiple": 4} | said)


def written(tmp_path: Path, content: object) -> str:
    torch.save(content, tmp_path / "theirs.pth")
    return str(tmp_path / "theirs.pth")


def same(folder: Path, expected: dict[str, torch.Tensor]) -> bool:
    found = read_tensors(str(folder), read_bundle(str(folder)).sha256)
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_all_tensors_land_bit_for_bit_and_the_model_runs(tmp_path):
    spec = convert(written(tmp_path, theirs()), key_map(residual=True, about="From a thesis; CC-BY."), str(tmp_path / "model"))
    assert same(tmp_path / "model", theirs(""))
    assert (spec.network, spec.residual, spec.multiple) == ("UNet", True, 4)
    network, image = load_network(str(tmp_path / "model"), spec, "cpu"), torch.ones(1, 1, 8, 8, 8)
    twin = build("UNet", UNET)
    twin.load_state_dict(theirs(""))
    assert torch.equal(network(image), twin(image))
    card = (tmp_path / "model" / "README.md").read_text()
    assert "`theirs.pth`" in card
    assert "From a thesis; CC-BY." in card
    assert check_fit(str(tmp_path / "model")) == spec


def test_tensors_deep_in_a_checkpoint_of_many_things(tmp_path):
    content = {"epoch": 7, "optimizer": {"lr": 1e-3}, "ema": {"state_dict": theirs()}}
    convert(written(tmp_path, content), key_map(state="ema.state_dict"), str(tmp_path / "model"))
    assert same(tmp_path / "model", theirs(""))


def test_the_old_format_and_safetensors_too(tmp_path):
    from safetensors.torch import save_file

    torch.save(theirs(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    save_file(theirs(), tmp_path / "theirs.safetensors")
    for name in ("old.pt", "theirs.safetensors"):
        convert(str(tmp_path / name), key_map(), str(tmp_path / name[:3]))
        assert same(tmp_path / name[:3], theirs(""))


def test_whole_names_go_before_patterns_and_the_longest_prefix_before_others():
    how = key_map(keys={"a.b.c": "whole"}, prefixes={"a.": "short.", "a.b.": "long."}, ignore=("*.c", "a.x*"))
    assert [how.ours(name) for name in ("a.b.c", "a.b.d", "a.d", "d.c", "a.x1", "e")] == [
        "whole",
        "long.d",
        "short.d",
        None,
        None,
        "e",
    ]


def test_what_is_not_wanted_must_be_said():
    content = theirs() | {"module.step": torch.zeros(())}
    with pytest.raises(WeightsError, match=r"weights-unfit: .*, but got 1 unexpected: step\. Correct keys, prefixes and ignore"):
        arranged(content, key_map())
    assert set(arranged(content, key_map(ignore=("*.step",)))) == set(theirs(""))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prefixes": {}}, r"missing: .*model\.0.*unexpected: module\.model\.0"),
        ({"keys": {"module.nowhere": "x"}}, r"1 not in the checkpoint: module\.nowhere \(in keys\)"),
        ({"ignore": ("*.0.conv.unit0.conv.bias",)}, r"1 missing: model\.0\.conv\.unit0\.conv\.bias"),
    ],
    ids=["no prefix", "a key that is not there", "too much ignored"],
)
def test_a_wrong_map_names_the_strays_and_writes_nothing(tmp_path, change, said):
    torch.manual_seed(0)
    names = build("UNet", UNET | {"num_res_units": 1}).state_dict()
    content = {f"module.{name}": tensor for name, tensor in names.items()}
    how = KeyMap(network="UNet", config=UNET | {"num_res_units": 1}, **{"prefixes": {"module.": ""}} | change)
    with pytest.raises(WeightsError, match=said):
        convert(written(tmp_path, content), how, str(tmp_path / "model"))
    assert not (tmp_path / "model").exists()


def test_two_for_one_place_and_another_shape_are_named():
    content = theirs()
    first, second = list(content)[:2]
    with pytest.raises(WeightsError, match=r"1 meant twice: same; .*missing.*; 1 unexpected: same"):
        arranged(content, key_map(keys={first: "same", second: "same"}))
    with pytest.raises(WeightsError, match=r"1 of another shape: .* \(7,\) for \("):
        arranged(content | {first: torch.zeros(7)}, key_map())


class Evil:
    """What a pickle may do as it is opened."""

    def __reduce__(self):
        return os.mkdir, ("was-here",)


def test_a_pickle_with_more_than_tensors_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, {"state_dict": theirs(), "hyper": Evil()})
    with pytest.raises(WeightsError, match=r"weights-pickle: expected a checkpoint of tensors alone, but got .*mkdir") as told:
        convert(path, key_map(state="state_dict"), str(tmp_path / "model"))
    assert not (tmp_path / "was-here").exists()
    assert "weights_only=False" not in str(told.value)


@pytest.mark.parametrize(
    ("content", "state", "code"),
    [
        ({"model": {}, "epoch": 1}, "net", "weights-state: expected net in the checkpoint, but got model, epoch"),
        ({"model": {"w": 1}}, "", "weights-state: expected tensors by name, but got something else: model"),
        ([1, 2], "", "weights-state: expected tensors by name, but got list"),
        (3, "a.b", "weights-state: .* got int"),
    ],
)
def test_a_checkpoint_without_tensors_there(tmp_path, content, state, code):
    with pytest.raises(WeightsError, match=code):
        convert(written(tmp_path, content), key_map(state=state), str(tmp_path / "model"))


@pytest.mark.parametrize("name", ["theirs.pth", "theirs.safetensors"])
def test_a_torn_checkpoint(tmp_path, name):
    from safetensors.torch import save_file

    torch.save(theirs(), tmp_path / "theirs.pth")
    save_file(theirs(), tmp_path / "theirs.safetensors")
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(WeightsError, match="weights-unreadable"):
        convert(str(path), key_map(), str(tmp_path / "model"))


def test_no_checkpoint(tmp_path):
    with pytest.raises(UsageError, match="checkpoint-missing"):
        convert(str(tmp_path / "none.pth"), key_map(), str(tmp_path / "model"))


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_a_map_is_yaml_or_json(tmp_path, suffix):
    path = tmp_path / f"map.{suffix}"
    path.write_text(json.dumps({"network": "UNet", "config": UNET, "keys": {"a": "b"}, "prefixes": {"module.": ""}}))
    assert read_map(str(path)) == KeyMap(network="UNet", config=UNET, keys={"a": "b"}, prefixes={"module.": ""})


@pytest.mark.parametrize("text", ["", "[1]", "network: UNet\nkey: {}", "a: [", None])
def test_what_is_no_map(tmp_path, text):
    if text is not None:
        (tmp_path / "map.yaml").write_text(text)
    with pytest.raises(
        UsageError, match=r"key-map: expected a YAML or JSON file with network, config and keys, but got .*map\.yaml"
    ) as told:
        read_map(str(tmp_path / "map.yaml"))
    assert "pydantic" not in str(told.value)


def test_a_model_whose_config_is_of_another_network_does_not_fit(tmp_path):
    convert(written(tmp_path, theirs()), key_map(), str(tmp_path / "model"))
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["config"]["channels"] = [2, 8]
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"weights-unfit: .* of another shape: .*\. Correct the config in config\.json"):
        check_fit(str(tmp_path / "model"))


# -- layouts that a family knows: several parts of one checkpoint ---------------------------------------------------------------


def two_parts(shapes) -> Layout:
    """Encoder and decoder of a checkpoint; the first network's width is read off its tensors."""
    width = shapes["enc.model.0.conv.weight"][0]
    maps = {
        "encoder": KeyMap(network="UNet", config=UNET | {"channels": [width, 4]}, prefixes={"enc.": ""}, ignore=("*.step",)),
        "decoder": KeyMap(network="UNet", config=UNET, prefixes={"dec.": ""}, about="Of a thesis."),
    }
    return Layout(maps, {"multiple": 4, "prediction": "v"}, Domain(contrasts=("T1w",)))


def both_parts() -> dict[str, torch.Tensor]:
    wide = build("UNet", UNET | {"channels": [6, 4]}).state_dict()
    return {f"enc.{name}": tensor for name, tensor in wide.items()} | theirs("dec.") | {"enc.step": torch.zeros(())}


def test_a_layout_makes_a_bundle_of_parts_with_what_it_knows_of_them(tmp_path):
    content, folder = both_parts(), str(tmp_path / "model")
    spec = convert_by(written(tmp_path, content), two_parts, folder)
    assert read_bundle(folder) == spec == check_fit(folder)
    assert (spec.parts["encoder"].config["channels"], spec.prediction, spec.multiple) == ([6, 4], "v", 4)
    for role, prefix in {"encoder": "enc.", "decoder": "dec."}.items():
        for name, tensor in load_network(folder, spec, "cpu", role).state_dict().items():
            assert torch.equal(tensor, content[prefix + name])
    assert read_domain(folder) == Domain(contrasts=("T1w",))
    assert "Of a thesis." in (tmp_path / "model" / "README.md").read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"loose": torch.zeros(1)},
            r"weights-unfit: expected the tensors of encoder, decoder.*, but got 1 of no part: loose\. Correct",
        ),
        ({"dec.more": torch.zeros(1)}, r"1 unexpected: more"),
    ],
)
def test_a_layout_leaves_no_tensor_without_a_place(tmp_path, change, said):
    with pytest.raises(WeightsError, match=said):
        convert_by(written(tmp_path, both_parts() | change), two_parts, str(tmp_path / "model"))
    assert not (tmp_path / "model" / "config.json").exists()


def test_a_tensor_that_two_parts_claim_is_named(tmp_path):
    def greedy(shapes) -> Layout:
        layout = two_parts(shapes)
        wide = layout.parts["decoder"].model_copy(update={"prefixes": {"": ""}})
        return Layout({**layout.parts, "decoder": wide})

    with pytest.raises(WeightsError, match=r"of several parts: enc\.model"):
        convert_by(written(tmp_path, both_parts()), greedy, str(tmp_path / "model"))
