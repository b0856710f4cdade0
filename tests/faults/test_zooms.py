"""Slices that networks make finer, killed with ``kill -9`` in mid tile and in mid scan: the same bytes after it, either way."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from core.geometry.grid import Box
from core.methods.latent_zoom.mock import write
from core.methods.latent_zoom.zoom import MADE_FINER
from tests.faults.cohorts import DESCRIPTION, anatomy, leftovers, products, write_scan
from tests.faults.conftest import Runner

pytestmark = pytest.mark.slow
METHODS = {
    "latent-zoom": ("steps=2",),
    "pixel-zoom": ("steps=2",),
    "bicubic-ae": (),
    "srgan-si": (),
    "wdsr-si": (),
}
TILE = {"at": "core.io.arrays.store:Store.write_tile", "from": 2, "act": "kill"}
SLICE = {"at": "core.methods.latent_zoom.latent:decode", "from": 30, "act": "kill"}


@pytest.fixture(scope="module")
def coarse(isovox: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A column of real anatomy, simulated a quarter as fine within its slices, of which every third one is there."""
    folder = tmp_path_factory.mktemp("scans")
    fine, grid = anatomy()
    box = Box((32, 48, 10), (64, 80, 82))  # more slices than a slab of any of the five has
    write_scan(folder / "sharp", "01", np.ascontiguousarray(fine[box.slices]), grid.crop(box))
    (folder / "sharp" / "dataset_description.json").write_text(json.dumps(DESCRIPTION))
    how = ("--operator", "in-plane", "--factor", "4", "--every", "3")
    isovox("simulate", folder / "sharp", folder / "coarse", *how)
    return folder / "coarse"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("method", METHODS)
def test_what_was_killed_in_its_middle_ends_with_the_bytes_of_an_undisturbed_run(
    isovox: Runner, coarse: Path, tmp_path: Path, method: str
) -> None:
    write(str(tmp_path / "model"), method)
    words = ("--method", method, "--model", tmp_path / "model", "--voxel-size", "2", "--workers", "1")
    words += ("--method-options", *METHODS[method]) if METHODS[method] else ()
    isovox("run", coarse, tmp_path / "whole", *words, "--mode", "scan")
    assert MADE_FINER in next((tmp_path / "whole").glob("sub-*/**/*.json")).read_text()
    ways = {"tile": TILE} | ({"scan": SLICE} if method == "latent-zoom" else {})  # in mid scan all begin anew alike
    for mode, fault in ways.items():
        how = (tmp_path / mode, *words, "--mode", mode)
        isovox("run", coarse, *how, faults=[fault], code=-signal.SIGKILL)
        assert not list((tmp_path / mode).glob("sub-*/**/*.nii.gz"))
        isovox("run", coarse, *how)
        assert products(tmp_path / mode) == products(tmp_path / "whole")
        assert leftovers(tmp_path / mode) == []
