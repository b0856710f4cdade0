"""Checkpoints: all that training needs to go on as if it had never stopped, in one safetensors file that is whole or absent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from core.errors import WeightsError
from core.io import files

Tensors = dict[str, Tensor]


def _optimizer_tensors(name: str, optimizer: Optimizer) -> Tensors:
    """Moments and step counts, by number of the parameter."""
    state = optimizer.state_dict()["state"]
    return {f"{name}.{number}.{key}": value for number, values in state.items() for key, value in values.items()}


def _put_optimizer(name: str, optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for path, value in tensors.items():
        if path.startswith(f"{name}."):
            number, key = path.removeprefix(f"{name}.").split(".")
            state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def save(uri: str, modules: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer], values: dict[str, Any]) -> None:
    """Write a checkpoint.

    Args:
        uri: where.
        modules: networks by name; their averages too.
        optimizers: by name.
        values: JSON values to keep with it.
    """
    from safetensors.torch import save as pack

    tensors: Tensors = {}
    for name, module in modules.items():
        tensors |= {f"module.{name}.{key}": value for key, value in module.state_dict().items()}
    for name, optimizer in optimizers.items():
        tensors |= _optimizer_tensors(f"optimizer.{name}", optimizer)
    content = pack(
        {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}, {"isovox": json.dumps(values)}
    )
    files.write_atomic(uri, content)


def load(uri: str, modules: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]) -> dict[str, Any] | None:
    """Take up a checkpoint.

    Args:
        uri: where it may be.
        modules: as it was saved with; they take its numbers.
        optimizers: likewise.

    Returns:
        what was told with it; None where there is none.

    Raises:
        WeightsError: it is of other networks, or not whole.
    """
    if not files.exists(uri):
        return None
    values, tensors = _read(uri)
    try:
        for name, module in modules.items():
            start = f"module.{name}."
            module.load_state_dict({key.removeprefix(start): tensor for key, tensor in tensors.items() if key.startswith(start)})
    except RuntimeError as error:
        remedy = "train into another folder, or with the settings of before"
        raise WeightsError("checkpoint-unfit", f"a checkpoint of these networks in {uri}", str(error)[:300], remedy) from error
    for name, optimizer in optimizers.items():
        _put_optimizer(f"optimizer.{name}", optimizer, tensors)
    return values


def _read(uri: str) -> tuple[dict[str, Any], Tensors]:
    """What is kept with a checkpoint, and its numbers.

    Raises:
        WeightsError: checkpoint-unreadable.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as unpack

    content = files.read_bytes(uri)
    length = int.from_bytes(content[:8], "little")
    try:
        return json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["isovox"]), unpack(content)
    except (ValueError, KeyError, SafetensorError) as error:
        remedy = "copy it again; or remove it with those of later stages, which are then trained from their beginning"
        raise WeightsError("checkpoint-unreadable", f"a whole checkpoint in {uri}", str(error)[:200], remedy) from error
