"""Pages of the documentation that are made from the code: one a method, the errors, the fields of a record, how to add a family.

MkDocs calls ``on_config`` and ``on_files``; nothing is written into this folder.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

from cli.methods import markdown, options_of
from core.engine.quality import CHECKS
from core.engine.records import ScanRecord
from core.methods import registry
from core.methods.family import MethodEntry, PickerEntry
from core.settings.run import QualityThresholds

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("core", "tasks", "flows", "infra", "deployments", "cli")
CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+|usage|storage")
PICTURES = Path(__file__).with_name("pictures")
FIGURES = Path(__file__).with_name("figures.md")


# -- methods --------------------------------------------------------------------------------------------------------------------


def _when(entry: MethodEntry) -> str:
    """When to take a method, by what it takes and what its model is for."""
    from core.models.domain import read_domain, statements

    takes = entry.takes
    lines = ["several scans of a person together (`--fuse`), or one" if takes.scans == "several" else "one scan at a time"]
    if takes.mask != "none":
        lines.append(
            "voxels that were not measured may be named by a mask beside the scan" if takes.mask == "optional" else "a mask"
        )
    if takes.covariates:
        lines.append(f"{' and '.join(takes.covariates)} of `participants.tsv` are used where they are known")
    own = registry.shipped(entry.name)
    if not takes.model:
        lines.append("nothing is trained: it is for any scan that the gate lets pass")
    elif own:
        lines += ["isovox brings a model, for scans within its domain", *statements(read_domain(str(own)))]
    elif entry.champion:
        recipe = registry.recipe_of(entry.name)
        lines.append(f"once a model is trained (`isovox train {recipe} SHARP`)" if recipe else "once a model is imported")
    else:
        lines.append("with a model that is named by `--model`")
    return "".join(f"- {line}\n" for line in lines)


def _cells() -> list[dict[str, Any]]:
    """The tables by which choices choose."""
    cells: list[dict[str, Any]] = []
    for family in registry.families():
        table = family.folder / "table.json"
        cells += json.loads(table.read_text())["cells"] if family.pickers and table.exists() else []
    return cells


def _table(*columns: str) -> str:
    """The head of a table."""
    return f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}\n"


def _row(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |\n"


def _span(values: list[float]) -> str:
    return f"{values[0]:g} to {values[1]:g}"


GAINS = ("contrast", "slices, mm apart", "gap", "method", "gain over cubic, dB", "at least (90 %)", "persons")
HELD_OUT = "Repaired, against cubic interpolation as it is (`isovox evaluate any-scan`, persons held out):"
TOLD = "From [measured figures](../figures.md), where it stands of what and how:"
UNMEASURED = (
    "No figures of it stand in the documentation or in the table of `auto`; measure it on your own scans by `isovox evaluate`.\n"
)
PICTURED = "The middle sagittal plane as measured in slices of 4 mm, by cubic interpolation, and by {}"
MADE = "The MNI152 head in slices of 4 mm with 1 % noise (nearest voxel); cubic interpolation; `{}`."


def _gains(cells: list[dict[str, Any]], name: str = "") -> str:
    """A line a cell: what a method gained there; without a name, the method that did best."""
    rows = []
    for cell in cells:
        place = cell["methods"].index(name) if name else 0
        gained = map("{:+.2f}".format, cell["gains"][place])
        rows.append(
            _row(cell["contrast"], _span(cell["spacing"]), _span(cell["gap"]), cell["methods"][place], *gained, cell["persons"])
        )
    return _table(*GAINS) + "".join(rows)


def _figures(name: str) -> str:
    """Measured gains of a method, where the table of the choice or README has them."""
    cells = [cell for cell in _cells() if name in cell["methods"]]
    line = rf"^(\S+)\s+{re.escape(name)}\s+([\d.]+)\s+([\d.]+)\s+([\d.]+)\s"
    demo = re.findall(line, (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    parts = [f"{HELD_OUT}\n\n{_gains(cells, name)}"] if cells else []
    if demo:
        rows = "".join(_row(*row) for row in demo)
        parts.append(f"In the demo (`make demo`):\n\n{_table('scan', 'PSNR, dB', 'SSIM', 'consistency')}{rows}")
    parts += _rows_of(name)
    return "\n".join(parts) or UNMEASURED


def _rows_of(name: str) -> list[str]:
    """The rows of a method in the tables of measured figures, under their heads."""
    tables = [part for part in FIGURES.read_text(encoding="utf-8").split("\n\n") if part.startswith("| ")]
    parts = []
    for head, rule, *rows in (table.splitlines() for table in tables):
        own = [row for row in rows if row.startswith(f"| `{name}`")]
        parts += ["\n".join([f"{TOLD}\n", head, rule, *own]) + "\n"] if own else []
    return parts


def _picture(entry: MethodEntry) -> str:
    """A method's picture, or why there is none."""
    name = entry.name
    if (PICTURES / f"{name}.jpg").exists():
        return f"![{PICTURED.format(name)}](../pictures/{name}.jpg)\n\n{MADE.format(name)}\n"
    if not entry.takes.model or registry.shipped(name):
        return "No picture: it calls a program that isovox does not bring, or trains on each scan, which takes long.\n"
    recipe = registry.recipe_of(name)
    weights = f"`isovox train {recipe} SHARP` makes them" if recipe else "they are named by `--model`, or imported"
    return f"No picture: no trained weights come with it; {weights}.\n"


def _cost(name: str) -> str:
    method = registry.method_class(name)
    patch = f", {method.bytes_per_tile_voxel:g} a voxel of the patch in hand" if method.bytes_per_tile_voxel else ""
    speed, memory = f"{method.voxels_per_second:,.0f}", f"{method.bytes_per_voxel:g}"
    return (
        f"About {speed} restored voxels a second and core; {memory} bytes a voxel{patch}. `isovox plan` says it for your scans.\n"
    )


def _sources(name: str) -> str:
    return "".join(f"- {ref.text} [doi:{ref.doi}](https://doi.org/{ref.doi})\n" for ref in registry.references_of(name))


def _title(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def method_page(entry: MethodEntry) -> str:
    """The page of a method."""
    options = [row.partition(": ") for row in options_of(registry.method_class(entry.name).Settings)]
    recipes = [recipe for recipe in registry.recipes().values() if recipe.method == entry.name]
    trained = "".join(f"- `{recipe.name}`: {recipe.title} (sizes: {', '.join(recipe.presets)})\n" for recipe in recipes)
    sections = {
        "When to take it": _when(entry),
        "What it costs": _cost(entry.name),
        "What was measured": f"{_figures(entry.name)}\n{_picture(entry)}",
        "Options": "".join(f"- `{name}`: {what}\n" for name, _, what in options) or "None.\n",
        "Trained by": trained,
        "Source": f"{entry.source}.\n\n{_sources(entry.name)}",
    }
    head = f"# {entry.name}\n\n{_title(entry.title)}\n\n```\nisovox run DATA OUT --method {entry.name}\n```\n"
    return head + "".join(f"\n## {name}\n\n{text}" for name, text in sections.items() if text)


def picker_page(picker: PickerEntry) -> str:
    """The page of a choice among methods."""
    names = ", ".join(f"[{name}]({name}.md)" for name in registry.candidates(picker.name))
    what = f"It is what a run does without `--method`. It chooses among {names}, each with its defaults."
    rest = "What is in no cell, and what every trained model refuses, goes to a method that needs no training."
    parts = (f"# {picker.name}", _title(picker.title), what, "## What it rests on", _title(picker.source), _gains(_cells()), rest)
    return "\n\n".join(parts) + "\n"


def methods_index() -> str:
    """All methods in one table, each with a link to its page."""
    table = re.sub(r"^\| `([^`]+)` ", r"| [`\1`](\1.md) ", markdown(), flags=re.MULTILINE)
    return f"# Methods\n\n`isovox methods` tells which model each would use on your machine.\n\n{table}"


# -- errors ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """What an error says where it is raised; what is put in at run time stands as an ellipsis."""

    wanted: str
    remedy: str


def _text(node: ast.expr | None, names: dict[str, list[ast.expr]], depth: int = 0) -> str:
    """The words of an expression of text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, names, depth) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left, names, depth) + _text(node.right, names, depth)
    if isinstance(node, ast.Name) and depth < 4:
        texts = dict.fromkeys(_text(value, names, depth + 1) for value in names.get(node.id, []))
        return "; or: ".join(text for text in texts if text.strip("…"))
    if isinstance(node, ast.IfExp):
        return f"{_text(node.body, names, depth)}; or: {_text(node.orelse, names, depth)}"
    return "…"


def _assigned(scope: ast.AST) -> dict[str, list[ast.expr]]:
    """What names are given within a scope."""
    values: dict[str, list[ast.expr]] = defaultdict(list)
    for node in ast.walk(scope):
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            if isinstance(target, ast.Name):
                values[target.id].append(node.value)
            elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                for name, value in zip(target.elts, node.value.elts, strict=False):
                    if isinstance(name, ast.Name):
                        values[name.id].append(value)
    return values


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _argument(node: ast.Call, place: int, name: str) -> ast.expr | None:
    named = next((keyword.value for keyword in node.keywords if keyword.arg == name), None)
    return named or (node.args[place] if len(node.args) > place else None)


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _top(path: Path) -> dict[str, list[ast.expr]]:
    """What names are given at the top of a module."""
    return _assigned(ast.Module([node for node in _tree(path).body if isinstance(node, ast.Assign)], []))


def _constants(path: Path) -> dict[str, list[ast.expr]]:
    """Texts of a module's top, and those that it imports from another of the project."""
    values = dict(_top(path))
    for node in _tree(path).body:
        if not (isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in LAYERS):
            continue
        other = ROOT / Path(*node.module.split(".")).with_suffix(".py")
        if other.exists() and any(alias.name.isupper() for alias in node.names):
            values |= {alias.asname or alias.name: _top(other)[alias.name] for alias in node.names if alias.name in _top(other)}
    return values


def _faults_of(path: Path) -> Iterator[tuple[str, Fault]]:
    tree, constants = _tree(path), _constants(path)
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    for scope in (*functions, *(node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef))):
        names = constants | _assigned(scope)
        for node in ast.walk(scope):
            if not (isinstance(node, ast.Call) and (_called(node).endswith("Error") or _called(node) == "trouble")):
                continue
            trouble = _called(node) == "trouble"
            codes = [code for code in _text(_argument(node, 0, "code"), names).split("; or: ") if CODE.fullmatch(code)]
            wanted = _text(_argument(node, 2 if trouble else 1, "wanted"), names)
            remedy = _text(_argument(node, 3, "remedy"), names)
            yield from ((code, Fault(wanted, remedy)) for code in codes)


@lru_cache(maxsize=1)
def faults() -> dict[str, list[Fault]]:
    """All errors that isovox raises by name, by their codes, as its source says them."""
    found: dict[str, list[Fault]] = defaultdict(list)
    for layer in LAYERS:
        for path in sorted((ROOT / layer).rglob("*.py")):
            for code, fault in _faults_of(path):
                if fault not in found[code]:
                    found[code].append(fault)
    return dict(sorted(found.items()))


def _sentence(text: str) -> str:
    """The text as a sentence without its full stop; empty where the message alone says it.

    A command or the name of a file at its start stays as it is typed.
    """
    plain = " ".join(text.split()).replace("<", "&lt;").replace("|", "\\|").replace("*", "\\*")
    first = plain.partition(" ")[0]
    typed = first == "isovox" or any(mark in first for mark in "_/")
    return "" if not plain.strip("…") else plain if typed else f"{plain[:1].upper()}{plain[1:]}"


def _line(fault: Fault) -> str:
    """What was expected and what to do, as far as the source says it; empty where it says neither."""
    wanted, remedy = _sentence(fault.wanted), _sentence(fault.remedy)
    parts = [f"Expected: {wanted}."] * bool(wanted) + [f"**{remedy}.**"] * bool(remedy)
    return f"- {' '.join(parts)}\n" if parts else ""


TROUBLE = """# Trouble and remedy

Every error of isovox begins with a code and says what was expected, what came and what to do. What came differs each time and
stands in the message; an ellipsis below is filled in there.

## A scan is flagged

The restored scan was written, and missed a threshold: look at its page before you use it. Thresholds are options
(`isovox run --help`).

"""
IN_MESSAGE = "The message says what was expected and what to do.\n"
REFUSED = """
`outside-domain`: restored by `--outside-domain` though its model is not for such scans. `non-finite`: voxels that are no numbers.
`no-head`: no voxel of the measured scan is above 0, as of an inverted one; what the checks compare is then not there.
`label-left-out`: a mask or labels beside it could not be read and were not carried; the image itself is as it should be.

## A scan is refused, or a command ends

"""


def errors_page() -> str:
    """Every code with what was expected and what to do, and every check by which a restored scan is flagged."""
    entries = []
    for code, places in faults().items():
        lines = "".join(dict.fromkeys(map(_line, places)))
        entries.append(f"### `{code}`\n\n{lines or IN_MESSAGE}\n")
    thresholds = QualityThresholds()
    flags = "".join(_row(f"`{check.figure}`", check.title, check.tell(getattr(thresholds, check.threshold))) for check in CHECKS)
    return f"{TROUBLE}{_table('code', 'figure', 'flagged beyond')}{flags}{REFUSED}{''.join(entries)}"


# -- outputs and families -------------------------------------------------------------------------------------------------------


def _fields(head: str, rows: Iterable[tuple[str, str]]) -> str:
    return _table(head, "what it is") + "".join(_row(f"`{name}`", what) for name, what in rows)


def record_fields() -> str:
    """A table of the fields of a scan's record, by its own documentation."""
    text = inspect.getdoc(ScanRecord) or ""
    rows = re.findall(r"^ {4}(\w[\w, ]*): (.+(?:\n {8}.+)*)", text.partition("Attributes:\n")[2], re.MULTILINE)
    return _fields("field", ((name, " ".join(what.split())) for name, what in rows))


def quality_fields() -> str:
    """A table of the figures of quality."""
    units = {"": "", "%": ", a share: 0.01 is the 1 % of pages and reasons"}
    return _fields("figure", ((check.figure, f"{check.title}{units.get(check.unit, ', ' + check.unit)}") for check in CHECKS))


def family_page() -> str:
    """How to add a family, as CONTRIBUTING says it."""
    section = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Adding to it\n")[2].partition("\n## ")[0]
    return f"# Adding a family\n\n{section.lstrip()}"


def pages() -> dict[str, str]:
    """All pages that are made, by their paths."""
    made = {"methods/index.md": methods_index(), "errors.md": errors_page(), "add-a-family.md": family_page()}
    made |= {f"methods/{name}.md": picker_page(picker) for name, picker in registry.pickers().items()}
    return made | {f"methods/{name}.md": method_page(entry) for name, entry in registry.methods().items()}


# -- called by MkDocs -----------------------------------------------------------------------------------------------------------


def on_config(config: Any) -> Any:
    """Put the methods' pages into the navigation."""
    names = [*registry.pickers(), *registry.methods()]
    for section in config["nav"]:
        if "Methods" in section:
            section["Methods"] = [{"All methods": "methods/index.md"}, *({name: f"methods/{name}.md"} for name in names)]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made."""
    from mkdocs.structure.files import File

    for path, content in pages().items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in the tables that pages name."""
    kinds = ((name, _title(entry.title)) for name, entry in registry.protocols().items())
    tables = {"record_fields": record_fields, "quality_fields": quality_fields, "protocols": partial(_fields, "protocol", kinds)}
    return re.sub(r"\{\{ (\w+) \}\}", lambda name: tables[name[1]](), markdown)
