"""Which families there are: found by listing folders, their code imported where it is used, in every process anew.

Families are the folders of ``core/methods`` that hold a ``family.py``, and the folders that the environment variable
``ISOVOX_FAMILIES`` names (separated as those of PATH), each a Python package. Workers and subprocesses inherit the variable.
"""

from __future__ import annotations

import ast
import copyreg
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from core.errors import SettingsError, UsageError, order
from core.methods.family import (
    Family,
    ForeignEntry,
    MethodEntry,
    NetworkEntry,
    PickerEntry,
    ProtocolEntry,
    RecipeEntry,
    Reference,
)

if TYPE_CHECKING:
    from core.evaluation.protocol import Protocol
    from core.methods.base import Method, MethodSettings
    from core.training.recipe import Recipe

VARIABLE = "ISOVOX_FAMILIES"
DECLARATION = "family.py"
Entry = TypeVar("Entry", MethodEntry, PickerEntry, RecipeEntry, ProtocolEntry, NetworkEntry, ForeignEntry)


# -- which families there are ---------------------------------------------------------------------------------------------------


def families() -> tuple[Family, ...]:
    """All families: those that need no model first, then by name.

    Raises:
        UsageError: a declaration that cannot be read, or a name that two of them use.
    """
    return _families(os.environ.get(VARIABLE, ""))


@lru_cache(maxsize=8)
def _families(more: str) -> tuple[Family, ...]:
    own = sorted(path.parent for path in Path(__file__).parent.glob(f"*/{DECLARATION}"))
    families = [_declared(folder, f"{__package__}.{folder.name}") for folder in own]
    families += [_from_outside(Path(folder)) for folder in more.split(os.pathsep) if folder]
    for kind in ("methods", "recipes", "protocols", "networks", "key_maps", "foreign"):
        _check_names(kind, families)
    return tuple(sorted(families, key=lambda family: (any(method.takes.model for method in family.methods), family.name)))


def _from_outside(folder: Path) -> Family:
    """A family of another folder, whose package is made importable."""
    if not folder.is_absolute():
        remedy = "name the whole path: processes that work elsewhere read the variable too"
        raise UsageError("family-relative", f"absolute paths in {VARIABLE}", str(folder), remedy)
    if str(folder.parent) not in sys.path:
        sys.path.append(str(folder.parent))
    return _declared(folder, folder.name)


def _declared(folder: Path, package: str) -> Family:
    try:
        module = import_module(f"{package}.family")
        family: Family = module.FAMILY
    except Exception as error:
        got, remedy = f"{type(error).__name__}: {error}", "correct the declaration"
        raise UsageError("family-unreadable", f"FAMILY in {folder / DECLARATION}", got, remedy) from error
    if (place := Path(str(module.__file__)).resolve().parent) != folder.resolve():
        wanted, remedy = f"the package {package} at {folder}", "rename the family's folder"
        raise UsageError("family-hidden", wanted, f"another of that name at {place}", remedy)
    return replace(family, folder=folder)


def _check_names(kind: str, families: Iterable[Family]) -> None:
    """Refuse a name that two declarations use."""
    shared = shared_protocols() if kind == "protocols" else {}
    owners: dict[str, Path] = {name: Path(entry.where) for name, entry in shared.items()}
    for family in families:
        of_kind: Iterable[Any] = getattr(family, kind)
        of_kind = (*of_kind, *family.pickers) if kind == "methods" else of_kind
        for entry in of_kind:
            place, name = family.folder / DECLARATION, entry if isinstance(entry, str) else entry.name
            if name in owners:
                wanted, got = f"each name once among {kind}", f"{name} in {owners[name]} and in {place}"
                raise UsageError("name-taken", wanted, got, "rename one of the two")
            owners[name] = place


def _by_name(entries: Iterator[Entry]) -> dict[str, Entry]:
    return {entry.name: entry for entry in entries}


def methods() -> dict[str, MethodEntry]:
    """All methods by name."""
    return _by_name(entry for family in families() for entry in family.methods)


def pickers() -> dict[str, PickerEntry]:
    """All choices among methods by name."""
    return _by_name(entry for family in families() for entry in family.pickers)


def recipes() -> dict[str, RecipeEntry]:
    """All recipes by name."""
    return _by_name(entry for family in families() for entry in family.recipes)


def protocols() -> dict[str, ProtocolEntry]:
    """All protocols by name: the shared ones, then the families'."""
    return shared_protocols() | _by_name(entry for family in families() for entry in family.protocols)


@lru_cache(maxsize=1)
def shared_protocols() -> dict[str, ProtocolEntry]:
    """The modules of ``core.evaluation.protocols``; none of them is imported."""
    package = "core.evaluation.protocols"
    entries = {}
    for path in sorted(Path(__file__).parents[1].joinpath("evaluation", "protocols").glob("[!_]*.py")):
        name, title = path.stem.replace("_", "-"), ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        entries[name] = ProtocolEntry(name, f"{package}.{path.stem}:PROTOCOL", title.partition("\n")[0].rstrip("."))
    return entries


def networks() -> dict[str, NetworkEntry]:
    """The families' networks by the names of their classes."""
    return _by_name(entry for family in families() for entry in family.networks)


def method_for(network: str) -> str:
    """Name of the method that applies a network: the one that is declared for it, else the one that applies whatever it is given.

    Args:
        network: name of its class.
    """
    declared = networks().get(network)
    if declared and declared.method:
        return declared.method
    return next(name for name, entry in methods().items() if entry.takes.model and not entry.champion)


def key_maps() -> dict[str, str]:
    """Layouts of foreign checkpoints by name, each as "module:function"; see ``core.models.convert.Reads``."""
    return {name: where for family in families() for name, where in family.key_maps.items()}


def foreign() -> dict[str, ForeignEntry]:
    """Models of others that families can take in, by name."""
    return _by_name(entry for family in families() for entry in family.foreign)


def foreign_entry(name: str) -> ForeignEntry:
    """What is declared of a model of others.

    Raises:
        UsageError: an unknown name.
    """
    return _found(foreign(), "unknown-foreign", name, "choose one of them")


def references_of(method: str) -> tuple[Reference, ...]:
    """Papers to cite for a method.

    Args:
        method: its name.

    Raises:
        UsageError: an unknown name.
    """
    return tuple(family_of(method_entry(method).name).references.get(method, ()))


def learned() -> tuple[str, ...]:
    """Names of the methods that restore with their champion where no model is named."""
    return tuple(name for name, entry in methods().items() if entry.takes.model and entry.champion)


def candidates(choice: str) -> tuple[str, ...]:
    """Methods among which a choice chooses; of a method itself, that one.

    Raises:
        UsageError: an unknown name.
    """
    picker = pickers().get(choice)
    return tuple(resolve(picker.among)()) if picker else (method_entry(choice).name,)


def needs_model(method: str, options: Mapping[str, Any]) -> bool:
    """Whether a method restores by weights with these options.

    Args:
        method: its name.
        options: its settings by name, without the model.

    Raises:
        UsageError: an unknown name.
    """
    entry = method_entry(method)
    return entry.takes.model and not any(options.get(name) == value for name, value in entry.without_model.items())


def recipe_of(method: str) -> str:
    """Name of the recipe that trains the model with which a method restores; "" where there is none.

    Raises:
        UsageError: an unknown name.
    """
    entry = method_entry(method)
    return entry.recipe or (entry.model if entry.model in recipes() else "")


def family_of(method: str) -> Family:
    """The family of a method.

    Raises:
        UsageError: an unknown name.
    """
    method_entry(method)
    return next(family for family in families() for entry in family.methods if entry.name == method)


def shipped(method: str) -> Path | None:
    """Folder of the weights that isovox brings for a method; None where it brings none."""
    name = method_entry(method).model_name
    folder = family_of(name if name in methods() else method).weights(name)
    return folder if folder.is_dir() else None


# -- one by its name ------------------------------------------------------------------------------------------------------------


def unknown(code: str, name: str, known: Iterable[str], remedy: str) -> SettingsError:
    """The error of a name that there is not, with the one that is nearest to it.

    Args:
        code: of the error.
        name: as it was said.
        known: names that there are.
        remedy: what the user can do.
    """
    names = list(known)
    near = get_close_matches(name, names, 1)
    return SettingsError(code, f"one of {', '.join(names)}", name, f"did you mean {near[0]}? {order(remedy)}" if near else remedy)


def resolve(where: str) -> Any:
    """The object that a declaration names.

    Args:
        where: "module:attribute".

    Raises:
        UsageError: there is no such module or attribute, or its import fails.
    """
    module, _, attribute = where.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        remedy = "correct the family's declaration, or install what it needs"
        raise UsageError("declaration-broken", f"{where}, as a family declares", str(error), remedy) from error


def _found(entries: Mapping[str, Entry], code: str, name: str, remedy: str) -> Entry:
    if name not in entries:
        raise unknown(code, name, entries, remedy)
    return entries[name]


def method_entry(name: str) -> MethodEntry:
    """What is declared of a method.

    Raises:
        UsageError: an unknown name.
    """
    return _found(methods(), "unknown-method", name, "choose one of them with --method")


def baseline() -> str:
    """Name of the method that the others are compared with."""
    (name,) = (name for name, entry in methods().items() if entry.baseline)
    return name


def method_class(name: str) -> type[Method]:
    """The class of a method.

    Raises:
        UsageError: an unknown name, or a class that is not where its family says.
    """
    method: type[Method] = resolve(method_entry(name).where)
    copyreg.pickle(method, _by_its_name)
    return method


def _by_its_name(method: Method) -> tuple[Any, ...]:
    """How a method is sent to another process: by its name, for the module of a family of another folder is found by it alone."""
    values = method.settings.model_dump()
    model = values.pop("model", None) if method.needs_model else None
    return build_method, (method.name, values, model)


def recipe_entry(name: str) -> RecipeEntry:
    """What is declared of a recipe.

    Raises:
        UsageError: an unknown name.
    """
    return _found(recipes(), "unknown-recipe", name, "choose one of them")


def recipe(name: str) -> Recipe:
    """How a network is trained.

    Raises:
        UsageError: an unknown name, or a recipe that is not where its family says.
    """
    recipe: Recipe = resolve(recipe_entry(name).where)
    return recipe


def protocol_entry(name: str) -> ProtocolEntry:
    """What is declared of a protocol.

    Raises:
        UsageError: an unknown name.
    """
    return _found(protocols(), "unknown-protocol", name, "choose one of them")


def protocol(name: str) -> Protocol:
    """How methods are evaluated.

    Raises:
        UsageError: an unknown name, or a protocol that is not where its family says.
    """
    protocol: Protocol = resolve(protocol_entry(name).where)
    return protocol


def build_method(name: str, options: dict[str, Any] | None = None, model: str | None = None) -> Method:
    """The method of that name.

    Args:
        name: one of ``methods()``.
        options: its settings by name.
        model: folder of weights, for methods that need them.

    Raises:
        UsageError: unknown name, option or value, or a model missing or not wanted.
    """
    method, needed = method_class(name), needs_model(name, options or {})
    if needed and model is None:
        raise UsageError("model-missing", f"weights for the method {name}", "none", "name them with --model")
    if model is not None and not needed:
        raise UsageError(
            "model-not-used", f"no --model with the method {name}", model, "leave it out, or choose a learned method"
        )
    return method(_settings(name, options or {}, model))


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that a method does not have, or that it cannot take.

    Args:
        name: of the method.
        options: its settings by name, without the model.

    Raises:
        UsageError: unknown method, option or value.
    """
    _settings(name, options, "to be found")


def _settings(name: str, options: Mapping[str, Any], model: str | None) -> MethodSettings:
    """The settings of a method; ``model`` is one of them where it takes one."""
    kind = method_class(name).Settings
    try:
        return kind.model_validate({**options, **({"model": model} if method_entry(name).takes.model else {})})
    except ValidationError as error:
        allowed = [option for option in kind.model_fields if option != "model"]
        what = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        wrong = [str(fault["loc"][0]) for fault in error.errors() if fault["type"] == "extra_forbidden"]
        near = [similar for option in wrong for similar in get_close_matches(option, allowed, 1)]
        remedy = f"did you mean {near[0]}? correct the options" if near else "correct the options"
        raise SettingsError("method-options", f"options of {name} ({', '.join(allowed) or 'none'})", what, remedy) from error
