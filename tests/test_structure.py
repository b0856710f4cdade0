"""The house as it stands: imports go one way, core stays free of orchestration, nothing reads whole files as float64."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = {
    "core": set(),
    "infra": {"core"},
    "tasks": {"core"},
    "flows": {"core", "infra", "tasks"},
    "deployments": {"core", "infra", "tasks", "flows"},
    "cli": {"core", "infra", "tasks", "flows", "deployments"},
}
ORCHESTRATION = {"prefect", "dask", "distributed", "mlflow", "dask_cuda"}


def modules(layer: str) -> list[Path]:
    return sorted((ROOT / layer).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path, known: set[str]) -> set[str]:
    """Modules of the project that one imports, late imports too; those for types alone do not count."""
    found: set[str] = set()
    stack: list[ast.AST] = [ast.parse(path.read_text())]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            stack += node.orelse
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} & known or {node.module}
        else:
            stack += ast.iter_child_nodes(node)
    return found & known


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Groups of modules of which each reaches all others."""
    reached = {name: _reach(graph, name) for name in graph}
    groups = {frozenset(other for other in reached[name] if name in reached[other]) for name in graph if name in reached[name]}
    return [set(group) for group in groups]


def _reach(graph: dict[str, set[str]], name: str) -> set[str]:
    seen: set[str] = set()
    stack = list(graph[name])
    while stack:
        if (at := stack.pop()) not in seen:
            seen.add(at)
            stack += graph[at]
    return seen


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_go_one_way(layer: str) -> None:
    others = set(LAYERS) - LAYERS[layer] - {layer}
    wrong = {f"{path.relative_to(ROOT)} imports {name}" for path in modules(layer) for name in imported(path) if name in others}
    assert modules(layer)
    assert not wrong


def test_no_two_modules_import_each_other() -> None:
    paths = {name_of(path): path for layer in LAYERS for path in modules(layer)}
    graph = {name: imports_of(path, set(paths)) - {name} for name, path in paths.items()}
    assert not circles(graph)


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]


def test_core_knows_no_orchestration() -> None:
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}" for path in modules("core") for name in imported(path) if name in ORCHESTRATION
    }
    assert not wrong


def test_no_whole_file_is_read_as_float64() -> None:
    wrong = [str(path) for layer in LAYERS for path in modules(layer) if re.search(r"\bget_fdata\b", path.read_text())]
    assert not wrong


def test_every_module_says_what_it_is() -> None:
    silent = [str(path) for layer in LAYERS for path in modules(layer) if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not silent


def test_files_stay_short() -> None:
    long = {
        str(path): count for layer in LAYERS for path in modules(layer) if (count := len(path.read_text().splitlines())) > 400
    }
    assert not long


def test_every_pain_names_tests_that_exist() -> None:
    rows = [line for line in (ROOT / "tests" / "README.md").read_text().splitlines() if line.startswith("| ")][2:]
    named = [tuple(one.split("::")) for row in rows for one in row.strip("| ").rpartition(" | ")[2].split(", ")]
    gone = {f"{path}::{name}" for path, name in named if f"\ndef {name}(" not in (ROOT / "tests" / path).read_text()}
    assert len(rows) >= 33
    assert len(named) > len(rows)
    assert not gone


SILENT = {"one", "found", "told"}


def names_bound(tree: ast.AST) -> set[str]:
    """Locals, arguments and targets of loops; fields of classes have a docstring that says what they hold."""
    fields = {
        node.target
        for each in ast.walk(tree)
        if isinstance(each, ast.ClassDef)
        for node in each.body
        if isinstance(node, ast.AnnAssign)
    }
    stored = (node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    names = {node.id for node in stored if node not in fields}
    names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return names | {
        node.name for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name
    }


def test_locals_say_what_they_hold() -> None:
    wrong = {
        f"{path.relative_to(ROOT)} binds {name}"
        for layer in LAYERS
        for path in modules(layer)
        for name in names_bound(ast.parse(path.read_text())) & SILENT
    }
    assert not wrong


@pytest.mark.parametrize(
    "source",
    [
        "one = 1",
        "for one in (): pass",
        "[one for one in ()]",
        "def f(one): ...",
        "lambda *one: 1",
        "(one := 1)",
        "with a as one: pass",
    ],
)
def test_a_silent_local_is_seen(source: str) -> None:
    assert "one" in names_bound(ast.parse(source))


def test_a_field_is_no_local() -> None:
    assert not names_bound(ast.parse("class Check:\n    found: str"))


WORDS = {"nearest", "linear", "cubic", "network", "Nearest", "Linear", "Cubic"}  # of the language, as well as methods' names
EXEMPT = {"cli/demo.py", "core/settings/evaluate.py", "core/methods/family.py"}  # the demo, a default, examples of declarations


def test_no_file_outside_a_family_names_its_methods() -> None:
    from core.methods import registry

    folders = {family.folder for family in registry.families()}
    names = {*registry.methods(), *registry.recipes(), *registry.networks()}
    names |= {entry.where.rpartition(":")[2] for entry in registry.methods().values()}
    whole = "|".join(sorted(map(re.escape, names - WORDS)))
    telling = re.compile(rf"(?<![A-Za-z])(?:{whole})(?![A-Za-z])")  # "eclare" is no part of "declared"
    files = {path: path.relative_to(ROOT).as_posix() for layer in LAYERS for path in modules(layer)}
    wrong = {
        f"{name}:{number}: {line.strip()}"
        for path, name in files.items()
        if name not in EXEMPT and not folders & set(path.parents)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if telling.search(line)
    }
    assert len(names) > 10
    assert not wrong
