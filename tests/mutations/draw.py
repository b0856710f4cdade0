"""Which changes of the code are tried: places by chance, and of the changes that Cosmic Ray knows for each, one by chance.

Left out are places that no test can tell: annotations, decorators (most of them caches), kernels that numba compiles, and the
word by which ``zip`` checks lengths that are the same.
"""

from __future__ import annotations

import ast
import random
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from cosmic_ray.commands import init
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec

Place = tuple[int, int]
Span = tuple[Place, Place]
DECORATORS = "core/RemoveDecorator"


def spans_left_out(source: str) -> list[Span]:
    """From where to where (line, column) a module's text is not to be changed."""
    return [((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)) for node in _left_out(ast.parse(source))]


def _left_out(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            yield node.annotation
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield from node.decorator_list
        if isinstance(node, ast.FunctionDef) and node.returns is not None:
            yield node.returns
        if isinstance(node, ast.FunctionDef) and any("njit" in ast.unparse(one) for one in node.decorator_list):
            yield node
        if isinstance(node, ast.keyword) and node.arg == "strict":
            yield node
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) in {"Literal", "tuple", "Callable"}:  # names of types
            yield node


def mutations(modules: Sequence[Path]) -> list[MutationSpec]:
    """Every change that Cosmic Ray knows for these modules, in a fixed order.

    Args:
        modules: paths, relative to the current folder.
    """
    with tempfile.TemporaryDirectory() as folder, use_db(str(Path(folder) / "work.sqlite"), WorkDB.Mode.create) as work:
        init(modules, work, {})
        found = [item.mutations[0] for item in work.work_items]
    spans = {path: spans_left_out(path.read_text()) for path in modules}
    inside = (one for one in found if one.operator_name != DECORATORS)
    kept = [one for one in inside if not any(a <= one.start_pos < b for a, b in spans[one.module_path])]
    return sorted(kept, key=lambda one: (str(one.module_path), one.start_pos, one.operator_name, one.occurrence))


def drawn(modules: Sequence[Path], count: int, seed: int) -> list[MutationSpec]:
    """Changes at ``count`` places (all where there are fewer), one each, by the seed."""
    places: defaultdict[tuple[Path, Place], list[MutationSpec]] = defaultdict(list)
    for one in mutations(modules):
        places[one.module_path, one.start_pos].append(one)
    draw = random.Random(seed)  # noqa: S311 - no secret
    chosen = draw.sample(sorted(places), min(count, len(places)))
    return [draw.choice(places[place]) for place in chosen]
