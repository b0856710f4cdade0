"""Tensors out of pickled modules without running their code: classes of modules become empty stubs, all else is refused.

Whole modules are pickled as calls and states. Here a call can reach torch's rebuilding of tensors, an ordered dictionary, or a
stub, and nothing besides: no code of the file's makers is imported, whatever it names.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from core.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

REBUILDS = {"_rebuild_tensor_v2", "_rebuild_parameter", "_rebuild_tensor"}  # of torch._utils
PLAIN = {("collections", "OrderedDict"): OrderedDict, ("builtins", "set"): set, ("__builtin__", "set"): set}


class Stub:
    """In place of a module: it keeps the state that is put into it."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Whatever it was made with is not needed."""


def opener(packages: tuple[str, ...]) -> Any:
    """What ``torch.load`` takes for ``pickle``.

    Args:
        packages: whose classes become stubs, with all below them.
    """

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if (module, name) in PLAIN:
                return PLAIN[module, name]
            if module == "torch._utils" and name in REBUILDS:
                import torch

                return getattr(torch._utils, name)  # noqa: SLF001 - pickles name them
            if any(module == each or module.startswith(f"{each}.") for each in packages):
                return type(name, (Stub,), {"__module__": module})
            wanted = f"modules of {', '.join(packages)}"
            raise WeightsError("weights-pickle", wanted, f"{module}.{name}", "save the state_dict alone where you trust it")

    def load(file: Any, **options: Any) -> Any:
        return Unpickler(file, **options).load()

    return SimpleNamespace(Unpickler=Unpickler, load=load, __name__="stubs")


def tensors_of(path: str, packages: tuple[str, ...]) -> dict[str, Tensor]:
    """Parameters and buffers by their dotted names, of a module that was pickled whole.

    Args:
        path: of the file, by torch.save.
        packages: see ``opener``.

    Raises:
        WeightsError: it names anything else, or is no module.
    """
    import torch

    try:
        module = torch.load(path, map_location="cpu", pickle_module=opener(packages), weights_only=False)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, TypeError, AttributeError, ImportError) as error:
        got = f"{path}: {str(error).splitlines()[0][:200]}"
        raise WeightsError("weights-unreadable", "a module by torch.save", got, "copy it again") from error
    tensors = dict(_named(module, ""))
    if not tensors:
        raise WeightsError("weights-state", "a module with parameters", f"{type(module).__name__} in {path}", "name another file")
    return tensors


def _named(module: Any, at: str) -> Iterator[tuple[str, Tensor]]:
    import torch

    state = vars(module) if isinstance(module, Stub) else {}
    for kind in ("_parameters", "_buffers"):
        for name, tensor in (state.get(kind) or {}).items():
            if torch.is_tensor(tensor):
                yield at + name, tensor.detach()
    for name, child in (state.get("_modules") or {}).items():
        yield from _named(child, f"{at}{name}.")
