"""Which changes are tried: drawn by the seed alone, where a test could tell them."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("cosmic_ray")
from tests.mutations.draw import drawn, mutations, spans_left_out

SOURCE = """from numba import njit

LEFT: Literal[1, 2] = 3


@lru_cache(maxsize=4)
def add(a: "tuple[5, 6]", b=7) -> Literal[8]:
    return a + len(zip(b, strict=True))


@njit(cache=True)
def kernel(a):
    return a * 9
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("module.py").write_text(SOURCE)
    return Path("module.py")


def test_annotations_decorators_and_kernels_are_left_out(module: Path) -> None:
    lines = SOURCE.splitlines()
    texts = {lines[one.start_pos[0] - 1][one.start_pos[1] : one.end_pos[1]] for one in mutations([module])}
    assert texts == {"3", "7", "+"}
    assert ((12, 0), (13, 16)) in spans_left_out(SOURCE)


def test_each_place_is_drawn_once_and_the_same_ones_by_the_same_seed(module: Path) -> None:
    assert drawn([module], 2, 0) == drawn([module], 2, 0)
    assert len({one.start_pos for one in drawn([module], 9, 0)}) == 3
    assert len({tuple(one.operator_name for one in drawn([module], 3, seed)) for seed in range(20)}) > 1
