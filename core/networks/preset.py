"""A network of a size, as the families' presets give it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core.diffusion.predictions import Prediction
from core.models.generative import GenerativePrior


@dataclass(frozen=True)
class Preset:
    """A network of a size.

    Attributes:
        network: name for ``core.networks.build``.
        config: its arguments.
        multiple: patches have edges of multiples of this many voxels.
        patch: edge in voxels that it is trained with.
        across: patches along each axis that the network must see together.
        only_as_trained: it restores patches of the size that it was trained with, and of no other.
        prediction: of networks that tell of what lies under noise, what it is that they tell.
        prior: of networks that make images of themselves, where those lie and what they are told of a person.
    """

    network: str
    config: dict[str, Any]
    multiple: int
    patch: int
    across: int = 1
    only_as_trained: bool = False
    prediction: Prediction | None = None
    prior: GenerativePrior | None = None

    @property
    def neighbours(self) -> int:
        """Patches that the network must see together."""
        return int(self.across**3)

    @property
    def block(self) -> int:
        """Edge in voxels of what is drawn for training: that of the patch, or of all that must be seen together."""
        return self.across * self.patch

    @property
    def takes(self) -> int:
        """Patches to restore have edges of multiples of this many voxels."""
        return self.block if self.only_as_trained else self.multiple
