"""A score model in use: what it expects behind noisy slices, one by one, for any size and whichever way they lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from core.diffusion.declared import build_schedule
from core.diffusion.predictions import Prediction
from core.diffusion.schedules import Schedule
from core.errors import WeightsError
from core.geometry.grid import Array
from core.geometry.slices import Padding, slab
from core.methods.srmri.presets import SCORE
from core.methods.srmri.score_network import NCSNpp, denoised
from core.models.bundle import Bundle, read_bundle
from core.models.cache import load_network


def bundle_of(folder: str) -> Bundle:
    """What the config of a score model says.

    Raises:
        WeightsError: model-unfit: no score model.
    """
    bundle, remedy = read_bundle(folder), "train one: isovox train score-slices"
    if SCORE not in bundle.parts or bundle.schedule is None:
        wanted = "a score model"
        raise WeightsError("model-unfit", wanted, f"the parts {', '.join(bundle.parts)} in {folder}", remedy)
    tells: Prediction = "x0" if bundle.parts[SCORE].config.get("preconditioned") else "score"
    if bundle.prediction not in {None, tells} or bundle.schedule.get("kind") != "geometric":
        wanted = f"a score model that tells {tells} under noise of geometric sigmas"
        got = f"{bundle.prediction} under {bundle.schedule.get('kind')} noise in {folder}"
        raise WeightsError("model-unfit", wanted, got, remedy)
    return bundle


@dataclass(frozen=True, eq=False)
class ScoreModel:
    """The network with its noise levels.

    Attributes:
        network: in evaluation mode, weights frozen.
        schedule: least and largest sigma.
        multiple: of the sides that it takes.
        device: of torch.
    """

    network: NCSNpp
    schedule: Schedule
    multiple: int
    device: str = "cpu"

    @classmethod
    def load(cls, folder: str) -> ScoreModel:
        """The model in a folder, on the GPU where there is one.

        Raises:
            WeightsError: model-unfit: no score model.
        """
        bundle = bundle_of(folder)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        network = cast("NCSNpp", load_network(folder, bundle, device, SCORE))
        return cls(network, build_schedule(bundle.schedule or {}), bundle.multiple, device)

    def expected(self, slabs: Tensor, sigma: float, axis: int) -> Tensor:
        """What it expects behind noisy slices with their neighbours, (n, channels, h, w) to (n, 1, h, w); keeps gradients."""
        padding = Padding((slabs.shape[-2], slabs.shape[-1]), self.multiple)
        count = len(slabs)
        plane = torch.full((count,), axis, device=slabs.device)
        made: Tensor = padding.undo(denoised(self.network, padding.apply(slabs), slabs.new_full((count,), sigma), plane))
        return made

    def slabs(self, volume: Array, place: int, axis: int) -> Tensor:
        """A noisy slice of a volume with its neighbours, (1, channels, h, w)."""
        planes, around = np.moveaxis(volume, axis, 0), self.network.neighbours
        out = np.empty((1, 2 * around + 1, *planes.shape[1:]), np.float32)
        slab(planes, [place], around, out)
        return torch.from_numpy(out).to(self.device)

    def volume(self, noisy: Array, sigma: float, axis: int, beyond: Array) -> Array:
        """What it expects behind a noisy volume, slice after slice along an axis; alone on a CPU, where batches could round.

        Args:
            noisy: the volume.
            sigma: of its noise.
            axis: that slices follow each other along.
            beyond: noisy slices before its first and after its last, as many as the network sees on either side; mirrored ones
                need noise of their own, for the network learned from neighbours whose noise is independent.
        """
        made = np.empty_like(noisy)
        planes, around = np.moveaxis(made, axis, 0), self.network.neighbours
        before, after = np.split(np.moveaxis(beyond, axis, 0), 2)
        whole = np.moveaxis(np.concatenate([before, np.moveaxis(noisy, axis, 0), after]), 0, axis)
        with torch.no_grad():
            for place in range(noisy.shape[axis]):
                planes[place] = self.expected(self.slabs(whole, place + around, axis), sigma, axis)[0, 0].cpu().numpy()
        return made
