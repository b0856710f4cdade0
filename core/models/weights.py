"""Weights as safetensors: numbers only, known by their sha256.

Pickles are refused by their content, whatever they are called: to open one is to run the code in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from core.errors import WeightsError
from core.io import files

if TYPE_CHECKING:
    from torch import Tensor

TENSORS = "model.safetensors"
PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
PICKLE_STARTS = (b"PK\x03\x04", b"\x80")  # torch.save's zip, and the pickle protocol 2 or later
START = 9  # bytes that tell: safetensors have the length of their header in eight, then "{"
LAYOUT = "a folder with model.safetensors and config.json"
SAVE_IT = "open it where you trust it, by torch.load(weights_only=True), and write it by core.models.bundle.save_model"


def packed(state_dict: Mapping[str, Tensor]) -> tuple[bytes, str]:
    """Tensors by name as the bytes of a safetensors file, and their sha256 (hex)."""
    from safetensors.torch import save

    content = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in state_dict.items()})
    return content, hashlib.sha256(content).hexdigest()


def read_tensors(folder: str, sha256: str, file: str = TENSORS) -> dict[str, Tensor]:
    """The tensors of a model, or of a part of one.

    Args:
        folder: of the model.
        sha256: of the file, from the model's config.
        file: its name.

    Raises:
        WeightsError: a pickle, other bytes than were recorded, or no file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        content = files.read_bytes(files.join(folder, file))
    except FileNotFoundError:
        refuse_pickles(folder)
        raise WeightsError("weights-missing", LAYOUT, f"{folder} without {file}", "copy the whole model") from None
    if is_pickle(content[:START]):
        raise WeightsError("weights-pickle", "weights as safetensors", f"a pickle named {file} in {folder}", SAVE_IT)
    if (digest := hashlib.sha256(content).hexdigest()) != sha256:
        raise WeightsError("weights-digest", f"{file} with sha256 {sha256[:12]}", digest[:12], "copy the model again")
    try:
        tensors: dict[str, Tensor] = load(content)
    except SafetensorError as error:
        raise WeightsError(
            "weights-unreadable", f"{file} in {folder}", str(error), "copy the model again from where it came, or export it again"
        ) from error
    return tensors


def check_file(folder: str, sha256: str, file: str = TENSORS) -> None:
    """Refuse weights that are not the bytes that were recorded; torch is not needed for this.

    Args:
        folder: of the model.
        sha256: of the file, from the model's config.
        file: its name.

    Raises:
        WeightsError: a pickle, other bytes than were recorded, or no file.
    """
    tensors = files.join(folder, file)
    if not files.exists(tensors):
        raise WeightsError("weights-missing", LAYOUT, f"{folder} without {file}", "copy the whole model")
    with files.open_uri(tensors) as handle:
        if is_pickle(handle.read(START)):
            raise WeightsError("weights-pickle", "weights as safetensors", f"a pickle named {tensors}", SAVE_IT)
    if (actual := files.sha256(tensors)) != sha256:
        wanted = f"{file} with sha256 {sha256[:12]}"
        raise WeightsError("weights-digest", wanted, actual[:12], "copy or register the model again")


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


def refuse_pickles(uri: str) -> None:
    """Raise where ``uri`` is a pickle, or a folder that holds one.

    Raises:
        WeightsError: naming the pickle.
    """
    paths = [files.join(uri, name) for name in files.listdir(uri)] or [uri]
    pickles = [path for path in paths if files.exists(path) and not files.is_folder(path) and _is_pickle(path)]
    if pickles:
        raise WeightsError("weights-pickle", f"weights as safetensors: {LAYOUT}", pickles[0], SAVE_IT)
