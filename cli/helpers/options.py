"""Options of the command line, made from the settings' models: what a YAML file and a form say, said on a command line."""

from __future__ import annotations

import argparse
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from core.errors import UsageError
from core.io import files
from core.settings.base import EXTRA, FormOnly, PerStage, as_meant, refused
from core.settings.run import RunSettings

Model = TypeVar("Model", bound=BaseModel)
POSITIONAL = ("input", "out")


def _leaves(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _leaves(field.annotation, (*path, name))
        else:
            yield (*path, name), field


def _plain(annotation: Any) -> Any:
    """The type behind ``X | None``; of a number or a word that number, whose constraints are the settings' business."""
    if get_origin(annotation) in {Union, types.UnionType}:
        return _plain(next(part for part in get_args(annotation) if part is not type(None)))
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _names(field: FieldInfo) -> list[str]:
    """What a field offers that is named by families: the enumeration of its schema, which is made when it is asked for."""
    schema: dict[str, Any] = {}
    if callable(field.json_schema_extra):
        field.json_schema_extra(schema)
    return list(schema.get("enum", ()))


def _describe(field: FieldInfo) -> str:
    text = field.description or field.title or ""
    if names := _names(field):
        text += f": {', '.join(names)}"
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    shown = f" (default: {default})" if default not in (None, (), {}, False) else ""
    return (text + shown).replace("%", "%%")


def _add(parser: argparse._ArgumentGroup, path: tuple[str, ...], field: FieldInfo) -> None:
    kind = _plain(field.annotation)
    option: dict[str, Any] = {"dest": ".".join(path), "default": argparse.SUPPRESS, "help": _describe(field)}
    if kind is bool:
        option["action"] = argparse.BooleanOptionalAction
    elif get_origin(kind) is tuple:
        option |= {"nargs": "+", "metavar": "LABEL"}
    elif get_origin(kind) is dict:
        option |= {"nargs": "+", "metavar": "NAME=VALUE"}
    elif get_origin(kind) is Literal:
        option["choices"] = get_args(kind)
    elif any(isinstance(mark, PerStage) for mark in field.metadata):
        option |= {"nargs": "+", "metavar": "NUMBER"}
    else:
        option["metavar"] = getattr(kind, "__name__", "VALUE").upper()
    parser.add_argument("--" + path[-1].replace("_", "-"), **option)


def add_settings(
    parser: argparse.ArgumentParser, model: type[BaseModel] = RunSettings, positional: Sequence[str] = POSITIONAL
) -> None:
    """Add the options of a settings model to a parser, grouped as the models are.

    Args:
        parser: of a command.
        model: whose fields are the options.
        positional: the fields that are said by their place.
    """
    for name in positional:
        several: dict[str, Any] = {"nargs": "+"} if get_origin(model.model_fields[name].annotation) is tuple else {}
        parser.add_argument(name, help=_describe(model.model_fields[name]), **several)
    parser.add_argument("--config", type=Path, metavar="FILE.yaml", help="YAML file of settings; options given here win over it")
    groups: dict[str, argparse._ArgumentGroup] = {}
    for path, field in _leaves(model):
        if path[0] not in positional and not any(isinstance(mark, FormOnly) for mark in field.metadata):
            title = path[0] if len(path) > 1 else "settings"
            groups.setdefault(title, parser.add_argument_group(title))
            _add(groups[title], path, field)


def add_more(parser: argparse.ArgumentParser, model: type[BaseModel], beside: type[BaseModel], title: str) -> None:
    """Add the options of a second settings model that the first does not have, in a group of their own.

    Args:
        parser: of a command.
        model: whose fields are the options.
        beside: whose options were added.
        title: of the group.
    """
    group = parser.add_argument_group(title)
    for path, field in _leaves(model):
        if path[0] not in beside.model_fields:
            _add(group, path, field)


def _options_of_method(words: list[str]) -> dict[str, Any]:
    pairs = [word.partition("=") for word in words]
    if bad := [name for name, equals, _ in pairs if not equals]:
        raise UsageError("option-form", "NAME=VALUE", bad[0], "write --method-options name=value")
    return {name: _value_of(name, value) for name, _, value in pairs}


def _value_of(name: str, text: str) -> Any:
    """What is said of an option of a method, read as YAML."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        remedy = f"""correct it, or quote it where it is meant as a text: --method-options "{name}='…'\""""
        raise UsageError("option-form", f"a value of {name} as YAML has them", text, remedy) from error


def _insert(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    if isinstance(tree, dict):  # what is no mapping is refused as it stands in the file
        tree[path[-1]] = value


class _Once(yaml.SafeLoader):
    """Reads YAML in which each name is said once in its place: of two the first would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [name for at, name in enumerate(names) if name in names[:at]]:
            raise yaml.constructor.ConstructorError(None, None, f"{', '.join(twice)} more than once", node.start_mark)
        return super().construct_mapping(node, deep)


def _without_empty(tree: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """What a file says; a section with nothing below it says nothing."""
    kinds = {name: field.annotation for name, field in model.model_fields.items()}
    sections = {name for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, BaseModel)}
    return {name: value for name, value in tree.items() if value is not None or name not in sections}


def _from_file(path: Path) -> dict[str, Any]:
    try:
        value = yaml.load(files.read_bytes(str(path)).decode(), _Once)  # noqa: S506 - it is a SafeLoader
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError("config-file", "a YAML file of settings", f"{path}: {error}", "check its path and its syntax") from error
    if not isinstance(value, dict):
        raise UsageError(
            "config-file",
            "a mapping of settings by name",
            "nothing" if value is None else type(value).__name__,
            "see `isovox run --help` for the names",
        )
    return value


def _remedy(error: ValidationError, model: type[BaseModel]) -> str:
    """What to do; of a setting that a file names as an option, or beside its section, where it stands there."""
    sections = {path[-1]: path for path, _ in _leaves(model)}
    names = [str(fault["loc"][-1]).replace("-", "_") for fault in error.errors() if fault["type"] == EXTRA and fault["loc"]]
    lines = [": {".join(sections[name]) + ": …" + "}" * (len(sections[name]) - 1) for name in names if name in sections]
    if lines:
        return f"write {', '.join(lines)} in the file"
    return as_meant(error) or "correct it; --help of the command lists all settings"


def settings_from(options: argparse.Namespace, model: type[Model]) -> Model:
    """The settings that a command line and its YAML file say.

    Args:
        options: as parsed.
        model: whose options ``add_settings`` added.

    Raises:
        UsageError: naming each setting that is wrong.
    """
    tree = _without_empty(_from_file(options.config), model) if options.config else {}
    for name, value in vars(options).items():
        path = name.split(".")
        if path[0] in model.model_fields:
            _insert(tree, path, _options_of_method(value) if path[-1] == "method_options" else value)
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        own = [fault["ctx"]["error"] for fault in error.errors() if isinstance(fault.get("ctx", {}).get("error"), UsageError)]
        if own:
            raise own[0] from error
        raise UsageError("settings", *refused(error), _remedy(error, model)) from error
