"""The generative prior that is inverted: an autoencoder and a diffusion model of its codes, in a model's folder.

z_T --DDIM by epsilon(z, t, conditions)--> z_0 --decode--> image on the window      image --encode--> z
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from core.diffusion.declared import build_schedule
from core.diffusion.schedules import Schedule
from core.errors import RestorationError, WeightsError
from core.geometry.grid import Array, Grid
from core.methods.inverse_sr import latent
from core.methods.inverse_sr.cost import Cost, cost_of
from core.methods.inverse_sr.presets import AUTOENCODER, DENOISER, ROLES
from core.methods.inverse_sr.search import codes
from core.models.bundle import Bundle, read_bundle
from core.models.cache import load_network
from core.models.generative import Condition, GenerativePrior, told


@dataclass(frozen=True)
class Prior:
    """A prior in a model's folder; its networks are loaded where they are first asked, and have no gradients.

    Attributes:
        folder: of the model.
        bundle: what its config says.
        device: of torch.
    """

    folder: str
    bundle: Bundle
    device: str = "cpu"

    @classmethod
    def load(cls, folder: str) -> Prior:
        """The prior of a model's folder, on a GPU where there is one.

        Raises:
            WeightsError: no model, or one that is no prior.
        """
        bundle = read_bundle(folder)
        if bundle.prior is None or bundle.schedule is None or set(bundle.parts) != set(ROLES):
            got = f"a model of {', '.join(bundle.parts)}" + ("" if bundle.prior else " without a window")
            raise WeightsError("model-unfit", f"a prior: {' and '.join(ROLES)}", got, "train one with brain-ldm, or import one")
        if bundle.prediction not in {None, "eps"}:
            got, remedy = f"one that tells {bundle.prediction}", "train one with brain-ldm, or import one"
            raise WeightsError("model-unfit", "a prior whose denoiser tells the noise (eps)", got, remedy)
        return cls(folder, bundle, "cuda" if torch.cuda.is_available() else "cpu")

    # -- what it says of itself -------------------------------------------------------------------------------------------------

    @property
    def facts(self) -> GenerativePrior:
        """Window and conditions."""
        return cast("GenerativePrior", self.bundle.prior)

    @property
    def window(self) -> Grid:
        """Grid of the images, in mm of MNI space."""
        return self.facts.grid

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What it is told of a person."""
        return self.facts.conditions

    @property
    def shape(self) -> latent.Shape:
        """Of a code: channels, x, y, z."""
        return latent.code_shape(self.bundle.parts, self.window.shape)

    @cached_property
    def schedule(self) -> Schedule:
        """Signal and noise of each timestep."""
        return build_schedule(cast("dict[str, Any]", self.bundle.schedule))

    # -- its networks -----------------------------------------------------------------------------------------------------------

    @property
    def autoencoder(self) -> nn.Module:
        """Its part."""
        return load_network(self.folder, self.bundle, self.device, AUTOENCODER)

    @property
    def denoiser(self) -> nn.Module:
        """Its part."""
        return load_network(self.folder, self.bundle, self.device, DENOISER)

    def decode(self, code: Tensor, *, recompute: bool = False) -> Tensor:
        """Images (n, 1, x, y, z) on the window of codes (n, channels, x, y, z); see ``latent.decode``."""
        return latent.decode(self.autoencoder, code, recompute=recompute)

    def encode(self, image: Tensor) -> Tensor:
        """The mean codes of images (n, 1, x, y, z) on the window, of about 0 to 1."""
        return latent.encode(self.autoencoder, image)

    def epsilon(self, code: Tensor, t: int, conditions: Tensor) -> Tensor:
        """The noise that the denoiser sees in codes (n, channels, x, y, z) of timestep ``t``; conditions (n, how many)."""
        return latent.epsilon(self.denoiser, code, torch.full((len(code),), t, dtype=torch.long, device=code.device), conditions)

    def bytes_kept(self, steps: int, size: int) -> int:
        """Of activations that a gradient needs, of so many steps of the chain and the decoder.

        Args:
            steps: of the chain.
            size: bytes of a number.
        """
        return self.cost(steps).bytes_kept(size)

    def cost(self, steps: int) -> Cost:
        """What a step of a search costs, through so many steps of the chain and the decoder."""
        return cost_of(self.bundle.parts, self.window.shape, steps)

    # -- its mean ---------------------------------------------------------------------------------------------------------------

    @cached_property
    def code_statistics(self) -> tuple[Array, Array]:
        """Mean and standard deviation of samples, (1, channels, x, y, z) each; made once and kept beside the weights."""
        where = codes.place(self.folder, self.bundle.digest, self.facts.samples)
        how = codes.Sampling(self.epsilon, self.schedule, self.shape, len(self.conditions), self.device)
        return codes.statistics(how, self.facts.samples, where)

    @property
    def mean_code(self) -> Array:
        """The mean of samples, (1, channels, x, y, z): where InverseSR(Decoder) starts."""
        return self.code_statistics[0]

    def mean_image(self) -> Array:
        """The image of the mean code, (x, y, z)."""
        with torch.no_grad():
            return np.asarray(self.decode(torch.from_numpy(self.mean_code).to(self.device))[0, 0].float().cpu().numpy())

    # -- a person ---------------------------------------------------------------------------------------------------------------

    def known(self, covariates: Mapping[str, float | str]) -> tuple[Array, Array]:
        """Conditions as a search begins, and 1 for each that is searched, 0 where participants.tsv tells it; (1, how many) each.

        Raises:
            RestorationError: outside-prior, for a person beyond what the prior has seen.
        """
        values, known = told(self.conditions, covariates)
        for condition, value in zip(self.conditions, values, strict=True):
            if not 0 <= value <= 1:
                wanted = f"a person of {condition.name} {condition.low:g} to {condition.high:g}, as the prior has seen"
                remedy = "choose another prior, or leave the column out of participants.tsv"
                raise RestorationError("outside-prior", wanted, str(covariates[condition.name]), remedy)
        return values[None], (~known[None]).astype(np.float32)
