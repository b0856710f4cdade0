"""Each change that once passed unnoticed fails the test that was written for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutations.known import KNOWN, Mutation
from tests.mutations.tree import ROOT, copy_tree

FAILED = 1  # pytest's exit code for tests that ran and failed


def mutated(mutation: Mutation) -> str:
    """The file's text with the change in it."""
    source = (ROOT / mutation.file).read_text()
    times = source.count(mutation.text)
    assert times == 1, (
        f"wanted {mutation.text!r} once in {mutation.file}; got it {times} times; "
        "the code has moved: say in tests/mutations/known.py how the same change looks now"
    )
    return source.replace(mutation.text, mutation.replacement)


@pytest.mark.parametrize("mutation", KNOWN, ids=lambda mutation: mutation.name)
def test_each_change_can_be_made_and_its_test_is_there(mutation: Mutation) -> None:
    changed = mutated(mutation)
    compile(changed, mutation.file, "exec")
    file, _, name = mutation.test.partition("::")
    assert f"def {name}(" in (ROOT / file).read_text(), f"wanted {mutation.test}; got none of that name; name the test that fails"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_tree(tmp_path_factory.mktemp("tree"))


@pytest.mark.slow
@pytest.mark.parametrize("mutation", KNOWN, ids=lambda mutation: mutation.name)
def test_each_change_fails_its_test(mutation: Mutation, tree: Path) -> None:
    place = tree / mutation.file
    place.write_text(mutated(mutation))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", mutation.test]
    try:
        done = subprocess.run(
            command, cwd=tree, env=os.environ | {"PYTHONPATH": str(tree)}, capture_output=True, text=True, check=False
        )
    finally:
        shutil.copyfile(ROOT / mutation.file, place)
    assert done.returncode == FAILED, f"{mutation.test} passed, or did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
