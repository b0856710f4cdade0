"""Models: what is saved is loaded, once a process; pickles and changed bytes are refused."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from core.errors import WeightsError
from core.models import bundle as bundles
from core.models import card as cards
from core.models import weights
from core.models.bundle import halve, read_bundle, save_model
from core.models.cache import load_count, load_network
from core.models.weights import read_tensors
from core.networks import build

UNET = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "channels": [2, 4], "strides": [2]}


def state(seed=0):
    import torch

    torch.manual_seed(seed)
    return build("UNet", UNET).state_dict()


def saved(folder, **how):
    return save_model(str(folder), "UNet", UNET, state(), "# A test model\n", **how)


def output_hash(folder: str) -> str:
    import torch

    network = load_network(folder, read_bundle(folder), "cpu")
    with torch.no_grad():
        output = network(torch.linspace(0, 1, 512).reshape(1, 1, 8, 8, 8))
    return hashlib.sha256(output.numpy().tobytes()).hexdigest()


def test_a_halved_model_has_half_the_bytes_and_restores_in_float32_nearly_alike(tmp_path):
    import torch

    whole, half = str(tmp_path / "whole"), str(tmp_path / "half")
    before = saved(whole, residual=True, slices_last=True, multiple=8)
    spec = halve(whole, half)
    assert (spec.residual, spec.slices_last, spec.multiple) == (before.residual, before.slices_last, before.multiple)
    size = [
        sum(t.numel() * t.element_size() for t in read_tensors(one, s.sha256).values())
        for one, s in ((whole, before), (half, spec))
    ]
    assert size[0] == 2 * size[1]
    assert "float16" in Path(half, cards.README).read_text()
    patch = torch.linspace(0, 1, 512).reshape(1, 1, 8, 8, 8)
    with torch.no_grad():
        outputs = [load_network(one, read_bundle(one), "cpu")(patch) for one in (whole, half)]
    assert outputs[1].dtype == torch.float32
    torch.testing.assert_close(*outputs, rtol=1e-2, atol=1e-3)


def test_weights_beyond_float16_are_not_halved(tmp_path):
    large = {name: tensor * 1e6 for name, tensor in state().items()}
    save_model(str(tmp_path / "large"), "UNet", UNET, large, "")
    with pytest.raises(WeightsError, match="within the range of float16"):
        halve(str(tmp_path / "large"), str(tmp_path / "half"))


def test_a_saved_model_is_loaded_with_the_same_numbers(tmp_path):
    import torch

    spec = saved(tmp_path, residual=True, multiple=8)
    assert read_bundle(str(tmp_path)) == spec
    assert (spec.residual, spec.multiple, spec.network) == (True, 8, "UNet")
    loaded = load_network(str(tmp_path), spec, "cpu")
    for name, tensor in state().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_saving_twice_gives_the_same_bytes_and_digest(tmp_path):
    assert saved(tmp_path / "a").digest == saved(tmp_path / "b").digest
    for name in (weights.TENSORS, bundles.CONFIG, cards.README):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert saved(tmp_path / "a").digest != saved(tmp_path / "a", residual=True).digest


@pytest.mark.slow
def test_a_model_loads_in_a_fresh_process_with_the_same_output(tmp_path):
    saved(tmp_path)
    program = "import sys; sys.path.insert(0, sys.argv[1]); import test_weights; print(test_weights.output_hash(sys.argv[2]))"
    command = [sys.executable, "-c", program, str(Path(__file__).parent), str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.split()[-1] == output_hash(str(tmp_path))


def test_weights_are_loaded_once_however_many_ask_at_once(tmp_path):
    spec = saved(tmp_path)
    before = load_count()
    found = []
    threads = [threading.Thread(target=lambda: found.append(load_network(str(tmp_path), spec, "cpu"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(network) for network in found}) == 1
    assert len(found) == 8
    assert load_count() - before == 1


@pytest.mark.parametrize("name", ["model.pt", "pytorch_model.bin", "weights.ckpt", "weights.dat"])
@pytest.mark.parametrize("direct", [False, True])
def test_pickles_are_refused_with_a_remedy(tmp_path, name, direct):
    import torch

    torch.save(state(), tmp_path / name)
    with pytest.raises(WeightsError, match=r"weights-pickle: .*safetensors.*weights_only=True.*save_model"):
        read_bundle(str(tmp_path / name if direct else tmp_path))


def test_a_pickle_called_safetensors_is_refused_and_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path(tmp_path, "sprung").touch, ())

    saved(tmp_path)
    content = pickle.dumps(Trap())
    (tmp_path / weights.TENSORS).write_bytes(content)
    with pytest.raises(WeightsError, match=r"weights-pickle: .*a pickle named model\.safetensors"):
        read_tensors(str(tmp_path), hashlib.sha256(content).hexdigest())
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: content[:-1] + bytes([content[-1] ^ 1])])
def test_other_bytes_than_recorded_are_refused(tmp_path, damage):
    spec = saved(tmp_path)
    file = tmp_path / weights.TENSORS
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(
        WeightsError, match=r"weights-digest: expected model\.safetensors with sha256 [0-9a-f]{12}, but got [0-9a-f]{12}"
    ):
        load_network(str(tmp_path), spec, "cpu")


def test_tensors_that_do_not_fit_the_network_are_refused(tmp_path):
    spec = save_model(str(tmp_path), "UNet", UNET | {"channels": [3, 4]}, state(), "")
    with pytest.raises(WeightsError, match="weights-unfit: expected tensors of UNet"):
        load_network(str(tmp_path), spec, "cpu")


def test_a_file_that_only_claims_to_be_safetensors_is_refused(tmp_path):
    saved(tmp_path)
    (tmp_path / weights.TENSORS).write_bytes(b"no tensors")
    with pytest.raises(WeightsError, match=r"weights-unreadable: expected model\.safetensors"):
        read_tensors(str(tmp_path), hashlib.sha256(b"no tensors").hexdigest())


def test_a_missing_or_unmeant_model_is_named(tmp_path):
    with pytest.raises(WeightsError, match="weights-missing: expected a folder with"):
        read_bundle(str(tmp_path / "nowhere"))
    spec = saved(tmp_path)
    (tmp_path / weights.TENSORS).unlink()
    with pytest.raises(WeightsError, match=r"weights-missing: .* without model\.safetensors"):
        read_tensors(str(tmp_path), spec.sha256)
    (tmp_path / bundles.CONFIG).write_text('{"network": "UNet", "config": {}, "surprise": 1}')
    with pytest.raises(WeightsError, match="weights-config: "):
        read_bundle(str(tmp_path))


def test_a_safetensors_header_of_any_length_is_no_pickle():
    """A header whose length begins with the byte 0x80, as a pickle does."""
    import torch
    from safetensors.torch import save

    seen = set()
    for length in range(1, 260):
        content = save({"w" * length: torch.zeros(1)})
        seen.add(content[0])
        assert not weights.is_pickle(content[: weights.START])
    assert 0x80 in seen
    for protocol in range(2, 6):
        assert weights.is_pickle(pickle.dumps({"a": [1, 2, 3]}, protocol)[: weights.START])
