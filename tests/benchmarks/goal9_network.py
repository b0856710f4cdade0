"""Goal 9: a network in patches, against MONAI's sliding window with the same network, patch and overlap; and all the rest.

Both sides begin at the thick scan and end with the restored volume; the interpolation is ours on both.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch

from core.engine.restore import Source, restore_scan
from core.geometry.grid import Array, Grid
from core.geometry.resample import interpolate
from core.methods import patch_network as module
from core.methods import registry
from core.methods.base import Measured
from core.methods.unet.method import UNet3D
from core.models.bundle import save_model
from core.models.cache import load_network
from core.networks import build
from core.operators.forward_model import SliceProfile
from core.settings.scans import TilingSettings
from core.stats import scan_stats
from tests.benchmarks.harness import Row, faster, in_turns, tell, within

SHAPE, THICKNESS, PATCH, OVERLAP, ROUNDS = (128, 160, 128), 4, 64, 16, 3
BLENDED, HALO = TilingSettings(patch=PATCH, overlap=OVERLAP), TilingSettings(patch=96, window="halo")
SECONDS = "network in patches of 64, overlap 16, seconds"


def scan() -> Measured:
    """A thick scan of texture."""
    image = np.random.default_rng(0).gamma(2, 50, (SHAPE[0], SHAPE[1], SHAPE[2] // THICKNESS)).astype(np.float32)
    return Measured(image, Grid(image.shape, np.diag([1, 1, THICKNESS, 1])), scan_stats(image), SliceProfile())


def model(folder: str) -> str:
    """A U-Net of the small preset with random weights."""
    torch.manual_seed(0)
    size = registry.recipe("unet-3d").preset("small")
    state = build(size.network, size.config).state_dict()
    save_model(folder, size.network, size.config, state, "", residual=True, multiple=size.multiple)
    return folder


def ours(method: UNet3D, measured: Measured, target: Grid, wanted: TilingSettings = BLENDED) -> Array:
    """Our patches, blended, or with a halo of what the network sees."""
    tiling = method.tiling(measured.grid, target, wanted)
    parts = restore_scan(method, [Source.in_memory(measured)], target, tiling, 32)
    return np.concatenate([arrays[0] for _, arrays in parts], axis=2)


def monai(method: UNet3D, measured: Measured, target: Grid) -> Array:
    """MONAI's sliding window over the interpolated scan."""
    from monai.inferers import SlidingWindowInferer

    network = load_network(method.settings.model, method.spec, method.device)
    inferer = SlidingWindowInferer((PATCH,) * 3, method.batch, OVERLAP / PATCH, mode="gaussian", cache_roi_weight_map=True)
    scaled = interpolate(measured.image, measured.grid, target, 3) / np.float32(measured.stats.upper)
    image = torch.from_numpy(scaled)[None, None].to(method.device)
    with torch.no_grad():
        return np.asarray((inferer(image, network) + image).cpu())[0, 0] * np.float32(measured.stats.upper)


def beside_the_network(work: Callable[[], object]) -> float:
    """Share of the time of ``work`` that is not spent in the network."""
    load, spent = module.load_network, [0.0]

    def timed(*given: object) -> Callable[[torch.Tensor], torch.Tensor]:
        network = load(*given)

        def call(batch: torch.Tensor) -> torch.Tensor:
            start = time.process_time()
            answer = network(batch)
            if batch.is_cuda:
                torch.cuda.synchronize()
            spent[0] += time.process_time() - start
            return answer

        return call

    module.load_network = timed
    start = time.process_time()
    work()
    module.load_network = load
    return 1 - spent[0] / (time.process_time() - start)


def rows() -> list[Row]:
    """Seconds of both sides, and the share that is not the network."""
    with tempfile.TemporaryDirectory() as folder:
        method, measured = UNet3D(UNet3D.Settings(model=model(folder))), scan()
        target = measured.grid.isotropic(1.0)
        works = [lambda: ours(method, measured, target), lambda: ours(method, measured, target, HALO)]
        mine, halo, peer = in_turns([*works, lambda: monai(method, measured, target)], ROUNDS)
        rest = beside_the_network(lambda: ours(method, measured, target))
    return [
        faster(9, f"MONAI: {SECONDS}", mine, peer, 1.3),
        faster(9, f"the same; ours in patches of {HALO.patch} with a halo", halo, peer, 2.0),
        within(9, "share of the time that is not the network", rest, 0.05),
    ]


if __name__ == "__main__":
    tell(rows())
