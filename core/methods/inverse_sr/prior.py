"""A brain prior in memory: decoder, encoder, noise network, and where its images lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from core.diffusion.declared import build_schedule
from core.diffusion.schedules import Schedule
from core.errors import RestorationError, WeightsError
from core.geometry.grid import Array, Grid
from core.methods.inverse_sr.cost import cost_of
from core.models.bundle import Part, read_bundle
from core.models.cache import load_network

if TYPE_CHECKING:
    from core.methods.inverse_sr.networks import BrainAutoencoder, BrainDenoiser, BrainFrame

UNKNOWN = 0.5  # of a condition that is searched, as it begins (paper)
SEXES = {"f": 0.0, "female": 0.0, "m": 1.0, "male": 1.0}


@dataclass(frozen=True, eq=False)
class Prior:
    """A prior.

    Attributes:
        autoencoder: images and codes.
        denoiser: the noise in codes.
        place: where images lie, the mean code and the conditions.
        schedule: of the noise.
        parts: what its bundle says of the three.
        device: of torch.
    """

    autoencoder: BrainAutoencoder
    denoiser: BrainDenoiser
    place: BrainFrame
    schedule: Schedule
    parts: Mapping[str, Part]
    device: str = "cpu"

    @classmethod
    def load(cls, folder: str) -> Prior:
        """The prior of a model's folder, on a GPU where there is one.

        Raises:
            WeightsError: a model of something else.
        """
        bundle = read_bundle(folder)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if bundle.schedule is None:
            raise WeightsError("model-unfit", "a brain prior with its schedule of noise", "none", "name another model")
        autoencoder, denoiser, place = (
            load_network(folder, bundle, device, role) for role in ("autoencoder", "denoiser", "frame")
        )
        return cls(autoencoder, denoiser, place, build_schedule(bundle.schedule), bundle.parts, device)  # type: ignore[arg-type]

    @property
    def window(self) -> Grid:
        """Grid of an image, in mm of the prior's world (MNI)."""
        x, y, z = self.place.shape
        return Grid((x, y, z), np.array(self.place.affine))

    @property
    def mean_code(self) -> Array:
        """(1, channels, x, y, z)."""
        return np.asarray(self.place.get_buffer("mean_code").cpu().numpy())

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a code: channels, x, y, z."""
        return tuple(self.mean_code.shape[1:])

    def decode(self, code: Tensor, *, recompute: bool = False) -> Tensor:
        """The image of a code, (1, 1, x, y, z)."""
        return self.autoencoder.decode(code, recompute=recompute)

    def encode(self, image: Tensor) -> Tensor:
        """The code of an image."""
        return self.autoencoder.encode(image)

    def epsilon(self, code: Tensor, t: int, conditions: Tensor) -> Tensor:
        """The noise in a code."""
        noise: Tensor = self.denoiser(code, torch.full((len(code),), t, device=code.device, dtype=torch.long), conditions)
        return noise

    def mean_image(self) -> Array:
        """The image of the mean code, (x, y, z)."""
        with torch.no_grad():
            return np.asarray(self.decode(torch.from_numpy(self.mean_code).to(self.device))[0, 0].float().cpu().numpy())

    def bytes_kept(self, steps: int, size: int) -> int:
        """Of activations that a gradient needs, of so many steps of the chain and the decoder.

        Args:
            steps: of the chain.
            size: bytes of a number.
        """
        return cost_of(self.parts, steps).bytes_kept(size)

    def known(self, covariates: Mapping[str, float | str]) -> tuple[Array, Array]:
        """Conditions as a search begins, and 1 for each that is searched, 0 where participants.tsv tells it; (1, how many) each.

        Raises:
            RestorationError: outside-prior, for an age beyond the prior's range.
        """
        told = {name: value for name in self.place.conditions if (value := self._told(name, covariates)) is not None}
        values = [told.get(name, UNKNOWN) for name in self.place.conditions]
        free = [float(name not in told) for name in self.place.conditions]
        return np.array([values], np.float32), np.array([free], np.float32)

    def _told(self, name: str, covariates: Mapping[str, float | str]) -> float | None:
        """A condition from 0 to 1; None where it is not known."""
        value = covariates.get(name)
        if name == "sex":
            return SEXES.get(str(value).lower())
        if not isinstance(value, int | float):
            return None
        low, high = self.place.conditions[name]
        if not low <= value <= high:
            wanted, got = f"a person of {name} {low:g} to {high:g}, as the prior has seen", f"{value:g}"
            raise RestorationError(
                "outside-prior", wanted, got, "choose another prior, or leave the column out of participants.tsv"
            )
        return (float(value) - low) / (high - low)
