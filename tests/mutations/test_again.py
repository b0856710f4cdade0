"""What survived is read from a log as it was told, and made again where its lines are now."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("cosmic_ray")
from tests.mutations.__main__ import Retrial, attempt_again
from tests.mutations.again import Survivor, survivors_of

LOG = """1 of 2, 1 survived
survived: core/x.py:3
-    return a + b
+    return a - b

survived: core/y.py:9
-    if a:
-        b = 1
+    if not a:
+        b = 1

2 of 2 changes tried, 0.0% failed a test
"""
ONE = Survivor(Path("core/x.py"), 3, ("    return a + b",), ("    return a - b",))


def test_a_log_gives_back_what_it_told():
    survivors = survivors_of(LOG)
    assert survivors[0] == ONE
    assert survivors[1] == Survivor(Path("core/y.py"), 9, ("    if a:", "        b = 1"), ("    if not a:", "        b = 1"))
    told = "".join(f"\nsurvived: {survivor.tell()}\n" for survivor in survivors)
    assert survivors_of(told) == survivors


def test_it_is_made_at_the_nearest_place_with_these_lines():
    far, near = "def f(a, b):\n    return a + b\n", "def g(a, b):\n    return a + b\n"
    assert ONE.applied(far + "\n" * 9 + near) == far.replace("+", "-") + "\n" * 9 + near
    moved = Survivor(ONE.module, 12, ONE.before, ONE.after)
    assert moved.applied(far + "\n" * 9 + near) == far + "\n" * 9 + near.replace("+", "-")
    assert ONE.applied("def f(a, b):\n    return b\n") is None


def test_what_is_gone_is_not_tried_and_a_module_is_left_as_it_was(tmp_path, monkeypatch):
    module = tmp_path / "x.py"
    module.write_text("def f(a, b):\n    return a + b\n")
    survivor = Survivor(module, 3, ONE.before, ONE.after)
    seen = []
    monkeypatch.setattr("tests.mutations.__main__.run_tests", lambda *_: seen.append(module.read_text()) or ("killed", ""))
    assert attempt_again(survivor, 1.0, float("inf")).outcome == "killed"
    assert "a - b" in seen[0]
    assert "a + b" in module.read_text()
    gone = Survivor(module, 3, ("    return c",), ("    return d",))
    assert attempt_again(gone, 1.0, float("inf")) == Retrial(gone, None, gone=True)
    assert len(seen) == 1
