"""Checkpoints of other projects as models: opened without running their code, each tensor put where a map says.

    theirs                        map                               ours
    module.enc.0.weight  --keys--> "module.enc.0.weight": "a.b"  --> a.b
    module.mid.bias      --prefixes--> "module.": ""             --> mid.bias
    module.step          --ignore--> "*.step"                        nowhere

Every tensor of the network must come from exactly one of theirs, and each of theirs must be used or be on the list of those that
are not: nothing lands by luck, nothing is lost in silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import Field

from core.errors import UsageError, WeightsError, listed
from core.io import files
from core.models.bundle import NETWORK, Bundle, Filled, read_bundle, read_part, save_bundle
from core.models.domain import Domain, write_domain
from core.networks import build
from core.settings.base import Settings, wrong

if TYPE_CHECKING:
    from torch import Tensor

CARD = """# {name}

Imported from `{source}` (sha256 `{sha256}`). {about}

## Limits
What it was trained on, and for what it may be used, is what its makers say of it; isovox knows neither.
"""


class KeyMap(Settings):
    """How a checkpoint becomes a model: a YAML or JSON file.

    Attributes:
        network: name for ``core.networks.build``.
        config: its arguments.
        residual: see ``Bundle``.
        slices_last: see ``Bundle``.
        multiple: see ``Bundle``.
        state: where in the checkpoint the tensors are ("state_dict", "model.ema"); empty where they are the checkpoint.
        keys: our name by theirs, whole names; they go before prefixes.
        prefixes: what takes the place of the beginning of their names; the longest that fits, only one.
        ignore: patterns ("*.num_batches_tracked") of their names that are not wanted.
        about: of the model's card: origin, data, licence.
    """

    network: str
    config: dict[str, Any] = {}
    residual: bool = False
    slices_last: bool = False
    multiple: int = Field(16, ge=1)
    state: str = ""
    keys: dict[str, str] = {}
    prefixes: dict[str, str] = {}
    ignore: tuple[str, ...] = ()
    about: str = ""

    def claims(self, theirs: str) -> bool:
        """Whether their tensor is meant by a whole name or by a prefix, where a checkpoint holds several parts."""
        return theirs in self.keys or any(theirs.startswith(prefix) for prefix in self.prefixes)

    def ours(self, theirs: str) -> str | None:
        """Our name of their tensor; None where it is not wanted."""
        if theirs in self.keys:
            return self.keys[theirs]
        if any(fnmatchcase(theirs, pattern) for pattern in self.ignore):
            return None
        prefix = max((each for each in self.prefixes if theirs.startswith(each)), key=len, default=None)
        return theirs if prefix is None else self.prefixes[prefix] + theirs[len(prefix) :]


@dataclass(frozen=True)
class Layout:
    """How a foreign checkpoint becomes a bundle, as a family knows it.

    Attributes:
        parts: where the tensors of each part go, by role.
        facts: what else ``config.json`` says: fields of ``Bundle`` beside its parts.
        domain: which scans it is for, as far as its makers say.
    """

    parts: Mapping[str, KeyMap]
    facts: Mapping[str, Any] = field(default_factory=dict)
    domain: Domain = field(default_factory=Domain)


Shapes = Mapping[str, tuple[int, ...]]  # of a checkpoint's tensors, by their dotted place in it
Reads = Callable[[Shapes], Layout]  # what a family's key map is: sizes that its makers chose are read off the shapes


def read_map(path: str) -> KeyMap:
    """A key map from a YAML or JSON file.

    Raises:
        UsageError: no such file, or not a map of keys.
    """
    try:
        return KeyMap.model_validate(yaml.safe_load(files.read_bytes(path)))
    except (OSError, yaml.YAMLError, ValueError) as error:
        wanted, got = (
            "a YAML or JSON file with network, config and keys",
            wrong(error) if isinstance(error, ValueError) else error,
        )
        raise UsageError("key-map", wanted, f"{path}: {got}", "correct the file given by --map") from error


def convert(path: str, how: KeyMap, folder: str) -> Bundle:
    """Write a checkpoint (.pth, .pt, .ckpt, or .safetensors) as a model.

    Args:
        path: of the checkpoint, on this machine.
        how: where its tensors go.
        folder: of the model, to be made.

    Raises:
        UsageError: no such file.
        WeightsError: a pickle with more than tensors, or tensors that are not those of the network, all of them named.
    """
    place = {"residual": how.residual, "slices_last": how.slices_last, "multiple": how.multiple}
    return convert_by(path, lambda _: Layout({NETWORK: how}, place), folder)


def convert_by(path: str, reads: Reads, folder: str) -> Bundle:
    """Write a checkpoint as a bundle, as a family's key map says.

    Args:
        path: of the checkpoint, on this machine; opened without running code.
        reads: of the family: from the shapes of the checkpoint's tensors to their places.
        folder: of the model, to be made.

    Raises:
        UsageError: no such file.
        WeightsError: a pickle with more than tensors, or tensors that are not those of the parts, all of them named.
    """
    if not Path(path).is_file():
        raise UsageError("checkpoint-missing", "a checkpoint on this machine", path, "check its path")
    content = _opened(path)
    layout = reads(dict(_shapes(content)))
    parts = {
        role: Filled(how.network, how.config, tensors)
        for (role, how), tensors in zip(layout.parts.items(), _parted(content, layout), strict=True)
    }
    names, about = (
        ", ".join(dict.fromkeys(getattr(how, what) for how in layout.parts.values())) for what in ("network", "about")
    )
    card = CARD.format(name=names, source=files.name_of(path), sha256=files.sha256(path), about=about)
    if layout.domain.stated:
        write_domain(folder, layout.domain)
    return save_bundle(folder, parts, card, **layout.facts)


def _shapes(content: Any, at: str = "") -> Iterator[tuple[str, tuple[int, ...]]]:
    """Shapes of all tensors in a checkpoint by their place in it."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            yield from _shapes(value, f"{at}.{name}" if at else str(name))
    elif hasattr(content, "shape"):
        yield at, tuple(content.shape)


def _parted(content: Any, layout: Layout) -> Iterator[dict[str, Tensor]]:
    """The tensors of each part under our names; each of theirs is of one part, or on a list of those that are not wanted.

    Raises:
        WeightsError: naming what is missing, left over, meant twice, or of another shape.
    """
    if len(layout.parts) == 1:
        (how,) = layout.parts.values()
        yield arranged(_inside(content, how.state), how)
        return
    for state in dict.fromkeys(how.state for how in layout.parts.values()):
        theirs, hows = _inside(content, state), [how for how in layout.parts.values() if how.state == state]
        wanted = Counter(name for how in hows for name in theirs if how.claims(name) and how.ours(name) is not None)
        ignored = {name for name in theirs if any(how.ours(name) is None for how in hows)}
        faults = {
            "of several parts": [name for name, count in wanted.items() if count > 1],
            "of no part": [name for name in theirs if name not in wanted and name not in ignored],
        }
        _refuse(faults, ", ".join(layout.parts), "correct keys, prefixes and ignore of the key map")
    for how in layout.parts.values():
        yield arranged({name: tensor for name, tensor in _inside(content, how.state).items() if how.claims(name)}, how)


def arranged(theirs: Mapping[str, Tensor], how: KeyMap) -> dict[str, Tensor]:
    """Their tensors under our names, all of them and no others.

    Raises:
        WeightsError: naming what is missing, left over, meant twice, or of another shape.
    """
    named = {name: our for name in theirs if (our := how.ours(name)) is not None}
    twice = {our for our, count in Counter(named.values()).items() if count > 1}
    absent = [f"{name} (in keys)" for name in how.keys if name not in theirs]
    faults = {"meant twice": sorted(twice), "not in the checkpoint": absent}
    renamed = {our: theirs[name] for name, our in named.items()}
    _refuse(faults | misfits(how.network, how.config, renamed), how.network, "correct keys, prefixes and ignore of the map")
    return renamed


def misfits(network: str, config: dict[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """What keeps tensors from being those of a network, by kind; names of both, none where they are."""
    wanted = {name: tuple(tensor.shape) for name, tensor in build(network, config).state_dict().items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    other = [f"{name} {shapes[name]} for {wanted[name]}" for name in wanted if shapes.get(name, wanted[name]) != wanted[name]]
    return {
        "missing": [name for name in wanted if name not in tensors],
        "unexpected": [name for name in tensors if name not in wanted],
        "of another shape": other,
    }


def check_tensors(network: str, config: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are not those of a network.

    Raises:
        WeightsError: naming what is missing, left over, or of another shape.
    """
    _refuse(misfits(network, config, tensors), network, "import the whole network, of these sizes")


def check_fit(folder: str) -> Bundle:
    """A model whose weights are read whole and are those of its network.

    Raises:
        WeightsError: a pickle, other bytes than were recorded, or tensors that do not fit.
    """
    bundle = read_bundle(folder)
    for part in bundle.parts.values():
        faults = misfits(part.network, part.config, read_part(folder, part))
        _refuse(faults, part.network, "correct the config in config.json, or copy the model again")
    return bundle


def _refuse(faults: Mapping[str, list[str]], network: str, remedy: str) -> None:
    parts = [f"{len(names)} {kind}: {listed(names)}" for kind, names in faults.items() if names]
    if parts:
        raise WeightsError("weights-unfit", f"the tensors of {network}, each once", "; ".join(parts), remedy)


def _opened(path: str) -> Any:
    """What is in a checkpoint; nothing in it is run."""
    from pickle import UnpicklingError

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.endswith(".safetensors"):
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        remedy = "save its state_dict alone where you trust it, and import that"
        raise WeightsError("weights-pickle", "a checkpoint of tensors alone", _first(error), remedy) from error
    except (RuntimeError, EOFError, ValueError, SafetensorError) as error:
        wanted = "a checkpoint by torch.save, or safetensors"
        raise WeightsError("weights-unreadable", wanted, f"{path}: {_first(error)}", "copy it again") from error


def _first(error: Exception) -> str:
    """The telling part of torch's text, which goes on to recommend to open the pickle nevertheless."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "GLOBAL" in line or "WeightsUnpickler error" in line), lines[0] if lines else "")[:300]


def _inside(content: Any, state: str) -> dict[str, Tensor]:
    """The tensors by name at a place within a checkpoint."""
    import torch

    for name in filter(None, state.split(".")):
        if not isinstance(content, Mapping) or name not in content:
            got = ", ".join(map(str, content))[:200] if isinstance(content, Mapping) else type(content).__name__
            raise WeightsError("weights-state", f"{state} in the checkpoint", got, "correct state in the map")
        content = content[name]
    wrong = [str(key) for key, value in content.items() if not torch.is_tensor(value)] if isinstance(content, Mapping) else [""]
    if wrong:
        got = f"something else: {listed(wrong)}" if isinstance(content, Mapping) else type(content).__name__
        raise WeightsError("weights-state", "tensors by name", got, "say by state in the map where they are")
    return dict(content)
