"""Samplers of a score model, and a search for a kernel, killed with ``kill -9`` in their middle: the same bytes after it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from core.geometry.grid import Box
from core.io.arrays.named_arrays import read_about
from core.methods.srmri.mock import write
from tests.faults.cohorts import DESCRIPTION, anatomy, leftovers, products, write_scan
from tests.faults.conftest import Runner

pytestmark = pytest.mark.slow
AT_ONCE = ("--state-minutes", "0", "--workers", "1")
ALWAYS = {"core.engine.iterate:SHARE": 1e9}
SLICES = "core.methods.srmri.sampling.slice_walk:advance"
SEARCHES = {  # method, options, what a step calls, and steps before its first call
    "srmri": ("srmri", ("levels=8",), "core.methods.srmri.sampling.few_steps:advance", 0),
    "srmri on slices": ("srmri", ("sampler=slices", "k=2", "scales=8"), SLICES, 0),
    "score-sde": ("score-sde", ("scales=8",), SLICES, 0),
    "dps": ("dps", ("scales=4", "samples=2"), SLICES, 0),
    "mcg": ("mcg", ("scales=8",), SLICES, 0),
    "kernelgan": ("kernelgan-zssr", ("kernel_steps=8", "steps=3"), "core.methods.srmri.zero_shot.kernel_gan:Search.step", 0),
    "zssr": ("kernelgan-zssr", ("kernel_steps=2", "steps=6"), "core.methods.srmri.zero_shot.zssr:Study.step", 2),
}


@pytest.fixture(scope="module")
def coarse(isovox: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A crop of real anatomy, simulated half as fine within its slices."""
    folder = tmp_path_factory.mktemp("scans")
    fine, grid = anatomy()
    box = Box((20, 30, 40), (84, 94, 66))
    write_scan(folder / "sharp", "01", np.ascontiguousarray(fine[box.slices]), grid.crop(box))
    (folder / "sharp" / "dataset_description.json").write_text(json.dumps(DESCRIPTION))
    isovox("simulate", folder / "sharp", folder / "coarse", "--operator", "in-plane", "--factor", "2")
    return folder / "coarse"


@pytest.mark.parametrize("search", SEARCHES)
def test_what_was_killed_in_its_middle_goes_on_to_the_same_bytes(
    isovox: Runner, coarse: Path, tmp_path: Path, search: str
) -> None:
    method, options, step, before = SEARCHES[search]
    killed = 5  # the fifth call never ends
    if method != "kernelgan-zssr":
        write(str(tmp_path / "model"), method)
        options = (*options, "--model", str(tmp_path / "model"))
    words = ("--method", method, "--voxel-size", "2", "--method-options", *options)
    isovox("run", coarse, tmp_path / "whole", *words)
    faults = [{"at": step, "from": killed, "act": "kill"}]
    isovox("run", coarse, tmp_path / "out", *words, *AT_ONCE, faults=faults, constants=ALWAYS, code=-signal.SIGKILL)
    (state,) = (tmp_path / "out" / "isovox" / "state").glob("*.safetensors")
    assert read_about(str(state))["step"] == before + killed - 1
    isovox("run", coarse, tmp_path / "out", *words)
    assert products(tmp_path / "out") == products(tmp_path / "whole")
    assert leftovers(tmp_path / "out") == []
