"""Models as a folder: ``model.safetensors`` (numbers only), ``config.json`` (how the network is built) and ``README.md`` (card).

Pickles are refused by their content, whatever they are called: to open one is to run the code in it.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from core.errors import WeightsError
from core.io import files
from core.networks import build
from core.settings.base import Settings

if TYPE_CHECKING:
    from torch import Tensor, nn

TENSORS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
PICKLE_STARTS = (b"PK\x03\x04", b"\x80")  # torch.save's zip, and the pickle protocol 2 or later
START = 9  # bytes that tell: safetensors have the length of their header in eight, then "{"
LAYOUT = "a folder with model.safetensors and config.json"
SAVE_IT = "open it where you trust it, by torch.load(weights_only=True), and write it by core.models.weights.save_model"


class ModelSpec(Settings):
    """What ``config.json`` says of a model.

    Attributes:
        version: of this format.
        network: name that ``core.networks.build`` knows.
        config: its arguments.
        residual: the network gives what is to be added to its input, rather than the restored image itself.
        slices_last: the network was trained on patches whose last axis is that of the slices; others are turned so.
        multiple: the network takes patches whose edges are multiples of this many voxels.
        sha256: of model.safetensors.
    """

    version: Literal[1] = 1
    network: str
    config: dict[str, Any]
    residual: bool = False
    slices_last: bool = False
    multiple: int = Field(16, ge=1)
    sha256: str = Field(pattern="[0-9a-f]{64}")

    @property
    def digest(self) -> str:
        """The sha256 (hex) of the whole model: how it is built, and its numbers."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def save_model(
    folder: str,
    network: str,
    config: dict[str, Any],
    state_dict: Mapping[str, Tensor],
    card: str,
    *,
    residual: bool = False,
    slices_last: bool = False,
    multiple: int = 16,
) -> ModelSpec:
    """Write a model; ``config.json`` comes last, so that a folder without it is no model.

    Args:
        folder: where, local or s3://.
        network: name for ``core.networks.build``.
        config: its arguments.
        state_dict: its weights.
        card: Markdown: what the model is for, what it was trained on, its licence.
        residual: see ``ModelSpec``.
        slices_last: see ``ModelSpec``.
        multiple: see ``ModelSpec``.
    """
    from safetensors.torch import save

    content = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in state_dict.items()})
    digest = hashlib.sha256(content).hexdigest()
    how = {"residual": residual, "slices_last": slices_last, "multiple": multiple}
    spec = ModelSpec(network=network, config=config, sha256=digest, **how)
    files.write_atomic(files.join(folder, TENSORS), content)
    files.write_atomic(files.join(folder, CARD), card.encode())
    files.write_json(files.join(folder, CONFIG), spec.model_dump(mode="json"))
    return spec


def halve(folder: str, out: str) -> ModelSpec:
    """Write a model once more with its weights in float16: half the bytes; it restores in float32 as before.

    Args:
        folder: of the model.
        out: where the half goes, local or s3://.

    Raises:
        WeightsError: no model, or weights that float16 cannot hold.
    """
    spec, card = read_spec(folder), files.read_bytes(files.join(folder, CARD)).decode()
    tensors = {name: tensor.half() for name, tensor in read_tensors(folder, spec.sha256).items()}
    if bad := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise WeightsError("weights-range", "weights within the range of float16", bad[0], "keep them in float32")
    return save_model(
        out,
        spec.network,
        spec.config,
        tensors,
        card + "\nThe weights are stored in float16.\n",
        residual=spec.residual,
        slices_last=spec.slices_last,
        multiple=spec.multiple,
    )


def read_spec(folder: str) -> ModelSpec:
    """What a model's ``config.json`` says.

    Raises:
        WeightsError: no such folder, pickles in place of a model, or a config that cannot be meant.
    """
    try:
        return ModelSpec.model_validate(files.read_json(files.join(folder, CONFIG)))
    except (FileNotFoundError, NotADirectoryError):
        _refuse_pickles(folder)
        raise WeightsError("weights-missing", LAYOUT, folder, "name a folder that save_model wrote") from None
    except (ValueError, ValidationError) as error:
        raise WeightsError("weights-config", f"a model's {CONFIG}", str(error), "write the model again by save_model") from error


def read_tensors(folder: str, sha256: str) -> dict[str, Tensor]:
    """The weights of a model.

    Args:
        folder: of the model.
        sha256: of the file, from the model's config.

    Raises:
        WeightsError: a pickle, other bytes than were recorded, or no file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        content = files.read_bytes(files.join(folder, TENSORS))
    except FileNotFoundError:
        _refuse_pickles(folder)
        raise WeightsError("weights-missing", LAYOUT, f"{folder} without {TENSORS}", "copy the whole model") from None
    if is_pickle(content[:START]):
        raise WeightsError("weights-pickle", "weights as safetensors", f"a pickle named {TENSORS} in {folder}", SAVE_IT)
    if (digest := hashlib.sha256(content).hexdigest()) != sha256:
        raise WeightsError("weights-digest", f"{TENSORS} with sha256 {sha256[:12]}", digest[:12], "copy the model again")
    try:
        tensors: dict[str, Tensor] = load(content)
    except SafetensorError as error:
        raise WeightsError(
            "weights-unreadable", f"{TENSORS} in {folder}", str(error), "write the model again by save_model"
        ) from error
    return tensors


def is_pickle(start: bytes) -> bool:
    """Whether a file that starts with these ``START`` bytes is a pickle, or a zip of them.

    The length of a safetensors header may begin with the byte that pickles begin with: what follows it tells them apart.
    """
    return start[START - 1 : START] != b"{" and start.startswith(PICKLE_STARTS)


def _is_pickle(uri: str) -> bool:
    if uri.endswith(PICKLED):
        return True
    with files.open_uri(uri) as handle:
        return is_pickle(handle.read(START))


def _refuse_pickles(uri: str) -> None:
    """Raise where ``uri`` is a pickle, or a folder that holds one."""
    found = [files.join(uri, name) for name in files.listdir(uri)] or [uri]
    pickles = [one for one in found if files.exists(one) and not files.is_folder(one) and _is_pickle(one)]
    if pickles:
        raise WeightsError("weights-pickle", f"weights as safetensors: {LAYOUT}", pickles[0], SAVE_IT)


_loading = threading.Lock()


@lru_cache(maxsize=2)
def _load(folder: str, spec_json: str, device: str) -> nn.Module:
    spec = ModelSpec.model_validate_json(spec_json)
    network = build(spec.network, spec.config)
    try:
        network.load_state_dict(read_tensors(folder, spec.sha256))
    except RuntimeError as error:
        remedy = "correct the config in config.json, or copy the model again"
        raise WeightsError("weights-unfit", f"tensors of {spec.network}", str(error), remedy) from error
    return network.to(device).requires_grad_(requires_grad=False)


def load_network(folder: str, spec: ModelSpec, device: str) -> nn.Module:
    """A model's network with its weights, loaded once a process and device however many scans there are.

    Args:
        folder: of the model.
        spec: from ``read_spec``; a model that changed since is refused.
        device: for torch, "cpu" or "cuda".

    Raises:
        WeightsError: weights that are refused or do not fit the network.
    """
    with _loading:  # threads that come at once wait for the one that loads
        return _load(folder, spec.model_dump_json(), device)


def load_count() -> int:
    """How many times this process has loaded weights."""
    return _load.cache_info().misses
