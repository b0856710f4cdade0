"""Networks are loaded once a device, kept by their bytes, and the one not asked for longest goes first."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from core.errors import WeightsError
from core.models import cache
from core.models.bundle import NETWORK, Part, save_model
from core.models.cache import Cache, load, size_of
from core.networks import build

torch = pytest.importorskip("torch")

UNET = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "channels": [2, 4], "strides": [2]}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[tuple[str, Part]]:
    """Three models of one size."""
    made = []
    for seed in range(3):
        torch.manual_seed(seed)
        folder = str(tmp_path_factory.mktemp(f"model{seed}"))
        made.append((folder, save_model(folder, "UNet", UNET, build("UNet", UNET).state_dict(), "").parts[NETWORK]))
    return made


def test_the_one_not_asked_for_longest_makes_room(models):
    size = size_of(load(*models[0]))
    kept = Cache(limit=2 * size)
    a, b, c = models
    first, second = kept.get(*a, "cpu"), kept.get(*b, "cpu")
    assert kept.get(*a, "cpu") is first
    kept.get(*c, "cpu")  # b goes
    assert kept.bytes_on("cpu") == 2 * size
    assert (kept.get(*a, "cpu"), kept.loads) == (first, 3)
    assert kept.get(*b, "cpu") is not second
    assert kept.loads == 4


def test_one_that_is_larger_than_the_limit_is_kept_alone(models):
    kept = Cache(limit=1)
    assert kept.get(*models[0], "cpu") is kept.get(*models[0], "cpu")
    kept.get(*models[1], "cpu")
    assert kept.bytes_on("cpu") == size_of(load(*models[0]))


def test_each_device_keeps_its_own_bytes(models):
    size = size_of(load(*models[0]))
    kept = Cache(limit=size)
    here, there = kept.get(*models[0], "cpu"), kept.get(*models[1], "meta")
    assert (kept.get(*models[0], "cpu"), kept.get(*models[1], "meta")) == (here, there)
    assert kept.loads == 2


def test_a_network_that_loads_slowly_holds_up_no_other(models, monkeypatch):
    slow, free = threading.Event(), threading.Event()

    def waiting(folder: str, part: Part):
        if folder == models[0][0]:
            slow.set()
            assert free.wait(20)
        return load(folder, part)

    monkeypatch.setattr(cache, "load", waiting)
    kept = Cache()
    threads = [threading.Thread(target=kept.get, args=(*models[0], "cpu")) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert slow.wait(20)
    kept.get(*models[1], "cpu")
    free.set()
    for thread in threads:
        thread.join(20)
    assert kept.loads == 2


def test_what_could_not_be_loaded_is_tried_again(models, tmp_path):
    folder, part = models[0]
    kept = Cache()
    with pytest.raises(WeightsError, match="weights-missing"):
        kept.get(str(tmp_path), part, "cpu")
    content = Path(folder, part.file).read_bytes()
    Path(tmp_path, part.file).write_bytes(content)
    assert size_of(kept.get(str(tmp_path), part, "cpu")) > 0
