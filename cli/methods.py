"""The command ``isovox methods``: what can restore a scan, what it takes, and which model it would use."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from cli.helpers.console import OK, console, say
from core.methods import registry

if TYPE_CHECKING:
    from rich.table import Table

    from core.methods.family import MethodEntry, PickerEntry
    from core.settings.base import Settings
    from tasks.registry.champions import Champion

LIMITS = {"minimum": "at least {}", "exclusiveMinimum": "above {}", "maximum": "at most {}", "exclusiveMaximum": "below {}"}
MASKS = {"none": "", "optional": ", with or without a mask", "needed": " and its mask"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.add_argument("name", nargs="?", help="one method: its options with their defaults, its recipes and its cost")
    parser.add_argument(
        "--tracking-uri", help="MLflow tracking URI of the champions; default: a sqlite file in isovox's own folder"
    )


def execute(options: argparse.Namespace) -> int:
    """List the methods, or show one."""
    from flows.registry import champions

    if options.name in registry.pickers():
        _show_choice(registry.pickers()[options.name])
    elif options.name:
        entry = registry.method_entry(options.name)
        _show(entry, champions(options.tracking_uri) if entry.takes.model else {})
    else:
        console().print(table(champions(options.tracking_uri)))
    return OK


# -- all of them ----------------------------------------------------------------------------------------------------------------


def table(champions: dict[str, Champion]) -> Table:
    """All methods, a section a family.

    Args:
        champions: by name of the model.
    """
    from rich.table import Table

    made = Table("family", "method", "what it does: takes, model, what that is for, source", box=None, pad_edge=False)
    for family in registry.families():
        for picker in family.pickers:
            among = f"chooses among {', '.join(registry.candidates(picker.name))}"
            made.add_row(family.title, picker.name, f"{picker.title}\n[dim]{among}; {picker.source}[/dim]")
        for n, entry in enumerate(family.methods):
            parts = (_takes(entry), _model(entry, champions), _domain(entry, champions), entry.source)
            text = f"{entry.title}\n[dim]{'; '.join(part for part in parts if part).replace('`', '')}[/dim]"
            made.add_row("" if n else family.title, entry.name, text)
    return made


def markdown() -> str:
    """The methods as a table of Markdown, for the README."""
    lines = ["| method | what it does | takes | model | source |", "| --- | --- | --- | --- | --- |"]
    chooses = "| `{0.name}` | {0.title} | a scan | as what it chooses | {0.source} |"
    lines += [chooses.format(picker) for picker in registry.pickers().values()]
    for entry in registry.methods().values():
        cells = (f"`{entry.name}`", entry.title, _takes(entry), _kind_of_model(entry), entry.source)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _takes(entry: MethodEntry) -> str:
    scans = "scans of a person together (`--fuse`) or one" if entry.takes.scans == "several" else "a scan"
    return scans + MASKS[entry.takes.mask]


def _kind_of_model(entry: MethodEntry) -> str:
    """Which model a method restores with, whatever this machine has."""
    if not entry.takes.model:
        return "no model"
    if not entry.champion:
        return "named by `--model`"
    return "its champion; isovox brings one" if registry.shipped(entry.name) else "its champion, once trained"


def _model(entry: MethodEntry, champions: dict[str, Champion]) -> str:
    """Which model a method would restore with on this machine."""
    if not entry.takes.model or not entry.champion:
        return _kind_of_model(entry).replace("`", "")
    if champion := champions.get(entry.model_name):
        return f"champion {champion.version}"
    if registry.shipped(entry.name):
        return "the model that isovox brings"
    return f"no model yet, train {recipe}" if (recipe := registry.recipe_of(entry.name)) else "no model yet, import one"


def _domain(entry: MethodEntry, champions: dict[str, Champion]) -> str:
    """Which scans the model that a method would use is for, in words."""
    from core.models.domain import read_domain, statements

    if not entry.takes.model or not entry.champion:
        return ""
    own = registry.shipped(entry.name)
    champion = champions.get(entry.model_name)
    domain = champion.domain if champion else read_domain(str(own)) if own else None
    return "; ".join(statements(domain)) if domain else ""


# -- one of them ----------------------------------------------------------------------------------------------------------------


def _show_choice(picker: PickerEntry) -> None:
    say(f"method: {picker.name}: {picker.title}")
    say(f"source: {picker.source}")
    say(f"chooses among: {', '.join(registry.candidates(picker.name))}, each with its defaults; no options of its own")


def _show(entry: MethodEntry, champions: dict[str, Champion]) -> None:
    method = registry.method_class(entry.name)
    recipes = [recipe for recipe in registry.recipes().values() if recipe.method == entry.name]
    cost = f"{method.voxels_per_second:,.0f} voxels a second and core; {method.bytes_per_voxel:g} bytes a voxel"
    patch = f", and {method.bytes_per_tile_voxel:g} a voxel of the patch in hand" if method.bytes_per_tile_voxel else ""
    lines = {
        "method": f"{entry.name}: {entry.title}",
        "family": registry.family_of(entry.name).title,
        "source": entry.source,
        "takes": _takes(entry).replace("`", ""),
        "model": _model(entry, champions),
        "for": _domain(entry, champions),
        "trained by": ", ".join(f"{recipe.name} ({recipe.title}; {', '.join(recipe.presets)})" for recipe in recipes),
        "cost": cost + patch,
    }
    for name, value in lines.items():
        if value:
            say(f"{name}: {value}")
    rows = options_of(method.Settings)
    say("\noptions (--method-options NAME=VALUE):" if rows else "options: none")
    for row in rows:
        say(f"  {row}")


def options_of(settings: type[Settings] | Any) -> list[str]:
    """A line for each option of a method: name, default, range and what it is.

    Args:
        settings: the method's.
    """
    fields = settings.model_json_schema().get("properties", {})
    return [
        f"{name} = {_default(field)}: {field.get('description', '')}{_range(field)}"
        for name, field in fields.items()
        if name != "model"
    ]


def _default(field: dict[str, Any]) -> str:
    return "(needed)" if "default" not in field else "(not said)" if field["default"] is None else str(field["default"])


def _range(field: dict[str, Any]) -> str:
    """The values that an option takes, where they are limited."""
    kinds = [field, *field.get("anyOf", ())]
    names = [str(value) for kind in kinds for value in kind.get("enum", ())]
    limits = [text.format(kind[word]) for kind in kinds for word, text in LIMITS.items() if word in kind]
    parts = ([", ".join(names)] if names else []) + limits
    return f" [{'; '.join(parts)}]" if parts else ""
