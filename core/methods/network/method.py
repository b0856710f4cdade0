"""The network method: whatever network a model's folder names, if it makes one image of one image."""

from __future__ import annotations

from typing import ClassVar

from core.methods.patch_network import NetworkMethod


class AnyNetwork(NetworkMethod):
    """Restores by a network with one channel in and out; model folder as ``core.models.bundle`` writes it."""

    name: ClassVar[str] = "network"
