"""Networks in memory: loaded once a process and device however many scans there are, and kept by their bytes.

Each device keeps as many bytes of parameters as ``LIMIT`` allows; the network that was not asked for longest goes first. Threads
that ask for the same one at once wait for the one that loads it; others are not held up.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from core.errors import WeightsError
from core.models.bundle import Bundle, Part, read_part
from core.networks import build

if TYPE_CHECKING:
    from torch import nn

LIMIT = 4 << 30  # bytes of parameters a device; a network that is larger is kept alone
Key = tuple[str, str, str]  # folder, sha256 of the part with its config, device


class Cache:
    """Networks by folder, part and device.

    Args:
        limit: bytes of parameters and buffers that a device keeps.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit, self.loads = limit, 0
        self._kept: OrderedDict[Key, tuple[nn.Module, int]] = OrderedDict()
        self._loading: dict[Key, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, folder: str, part: Part, device: str) -> nn.Module:
        """A part's network with its weights, in evaluation mode, without gradients.

        Args:
            folder: of the bundle.
            part: of it.
            device: for torch, "cpu" or "cuda".

        Raises:
            WeightsError: weights that are refused or do not fit the network.
        """
        key = (folder, part.model_dump_json(), device)
        with self._lock:
            loading = self._loading.setdefault(key, threading.Lock())
        with loading:
            if (known := self._known(key)) is not None:
                return known
            network = load(folder, part).to(device)
            self._keep(key, network)
            return network

    def bytes_on(self, device: str) -> int:
        """Bytes that are kept on a device."""
        return sum(size for (_, _, place), (_, size) in self._kept.items() if place == device)

    def _known(self, key: Key) -> nn.Module | None:
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def _keep(self, key: Key, network: nn.Module) -> None:
        """Take a network in; those of its device that were not asked for longest make room."""
        with self._lock:
            self.loads += 1
            self._kept[key] = (network, size_of(network))
            oldest = [other for other in self._kept if other[2] == key[2] and other != key]
            while oldest and self.bytes_on(key[2]) > self.limit:
                del self._kept[oldest.pop(0)]


def load(folder: str, part: Part) -> nn.Module:
    """A part's network with its weights, on the CPU, in evaluation mode, without gradients.

    Raises:
        WeightsError: weights that are refused or do not fit the network.
    """
    network = build(part.network, part.config)
    try:
        network.load_state_dict(read_part(folder, part))
    except RuntimeError as error:
        remedy = "correct the config in config.json, or copy the model again"
        raise WeightsError("weights-unfit", f"tensors of {part.network}", str(error), remedy) from error
    return network.requires_grad_(requires_grad=False)


def size_of(network: nn.Module) -> int:
    """Bytes of a network's parameters and buffers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())


_cache = Cache()


def load_network(folder: str, bundle: Bundle, device: str, role: str | None = None) -> nn.Module:
    """A network of a model with its weights, loaded once a process and device however many scans there are.

    Args:
        folder: of the model.
        bundle: from ``read_bundle``; a model that changed since is refused.
        device: for torch, "cpu" or "cuda".
        role: of the part; None for the part of a model that has one.

    Raises:
        WeightsError: no such part, or weights that are refused or do not fit the network.
    """
    if role is not None and role not in bundle.parts:
        raise WeightsError("model-unfit", f"a model with the part {role}", ", ".join(bundle.parts), "name another model")
    return _cache.get(folder, bundle.parts[role] if role else bundle.part, device)


def load_count() -> int:
    """How many times this process has loaded weights."""
    return _cache.loads
