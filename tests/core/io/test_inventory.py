"""Everything in a folder is listed, hidden files too; what is removed is what was named."""

from __future__ import annotations

import pytest

from core.io import files
from core.io.inventory.folder import inventory, remove_listed

PATHS = {"a/b/c.bin": 3, "a/.hidden.tmp": 1, "d[1]*.bin": 2, ".top": 0}


def fill(root: str) -> None:
    for path, size in PATHS.items():
        files.write_atomic(files.join(root, path), b"x" * size)


def test_a_listing_has_every_file_with_its_bytes(tmp_path):
    fill(str(tmp_path))
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert inventory(str(tmp_path)) == dict(sorted(PATHS.items()))
    assert inventory(str(tmp_path / "nowhere")) == {}


def test_only_what_is_named_goes_and_folders_that_are_empty_then(tmp_path):
    fill(str(tmp_path))
    remove_listed(str(tmp_path), ["a/b/c.bin", "d[1]*.bin", "not-there"])
    assert set(inventory(str(tmp_path))) == {"a/.hidden.tmp", ".top"}
    assert not (tmp_path / "a" / "b").exists()
    remove_listed(str(tmp_path), ["a/.hidden.tmp", ".top"])
    assert tmp_path.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_it_is_so_in_s3_too_by_thousands(s3, monkeypatch):
    monkeypatch.setattr("core.io.inventory.folder.AT_ONCE", 2)
    root = files.join(s3, "inventory")
    fill(root)
    files.write_atomic(files.join(s3, "inventory-of-others/a"), b"1")
    assert inventory(root) == dict(sorted(PATHS.items()))
    remove_listed(root, ["a/b/c.bin", "d[1]*.bin", "not-there"])
    assert set(inventory(root)) == {"a/.hidden.tmp", ".top"}
    assert inventory(files.join(s3, "inventory-of-others")) == {"a": 1}
    assert inventory(files.join(s3, "nowhere")) == {}
