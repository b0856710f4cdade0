"""Files are written whole or not at all, and faults that may pass are told from those that last."""

from __future__ import annotations

import errno
import json
import threading
from pathlib import Path

import pytest

from core.io import claim, files


def names(folder: Path) -> list[str]:
    """Everything in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def test_joined_parts_have_one_slash_between_them():
    assert files.join("s3://bucket/a/", "/b", "", "c.json") == "s3://bucket/a/b/c.json"
    assert files.join("/", "a") == "/a"
    assert files.join("a", "b/c") == "a/b/c"


def test_a_file_is_written_with_the_folders_above_it(tmp_path):
    uri = str(tmp_path / "a" / "b" / "c.bin")
    files.write_atomic(uri, b"123")
    assert files.read_bytes(uri) == b"123"
    assert files.size(uri) == 3
    assert files.walk(str(tmp_path)) == ["a/b/c.bin"]


def test_walking_ends_where_a_link_leads_back_and_may_be_kept_to_a_prefix(tmp_path):
    for path in ("sub-1/a", "sub-2/b/c", "derivatives/d", "sub-3", ".git/e"):
        files.write_atomic(str(tmp_path / path), b"")
    (tmp_path / "sub-1" / "back").symlink_to(tmp_path)
    assert files.walk(str(tmp_path), "sub-") == ["sub-1/a", "sub-2/b/c", "sub-3"]
    (tmp_path / "sub-1" / "back").unlink()
    (tmp_path / "sub-1" / "beside").symlink_to(tmp_path / "derivatives")
    assert "sub-1/beside/d" in files.walk(str(tmp_path), "sub-")


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.bin"
    files.write_atomic(str(path), b"old")

    def fail(handle):
        handle.write(b"new")
        raise OSError(errno.ENOSPC, "no space")

    with pytest.raises(OSError, match="no space"):
        files.write_atomic(str(path), fail)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_readers_see_the_old_or_the_new_bytes_never_a_mixture(tmp_path):
    uri, seen, done = str(tmp_path / "a.bin"), set(), threading.Event()
    versions = [bytes([n]) * 100_000 for n in range(4)]
    files.write_atomic(uri, versions[0])

    def read():
        while not done.is_set():
            seen.add(files.read_bytes(uri))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(10):
        for version in versions:
            files.write_atomic(uri, version)
    done.set()
    reader.join()
    assert seen <= set(versions)


def test_what_a_killed_writer_left_is_hidden_and_can_be_removed(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / ".a.nii.gz.1-2-3.tmp").write_bytes(b"half")
    files.write_atomic(str(tmp_path / "sub" / "a.nii.gz"), b"whole")
    assert files.walk(str(tmp_path)) == ["sub/a.nii.gz"]
    assert files.remove_leftovers(str(tmp_path), but=[str(tmp_path / "sub")]) == 0
    assert files.remove_leftovers(str(tmp_path)) == 1
    assert names(tmp_path / "sub") == ["a.nii.gz"]


def test_work_begun_on_an_output_leaves_alone_what_others_write_in_those_below_it(tmp_path):
    torn, live = (tmp_path / place / ".a.json.1-2-3.tmp" for place in ("harmonized/A", "A"))
    for draft in (torn, live):
        draft.parent.mkdir(parents=True)
        draft.write_bytes(b"half")
    claim.begin(str(tmp_path), "harmonize", [f"{tmp_path}/A"])
    assert (torn.exists(), live.exists(), claim.kind_of(str(tmp_path))) == (False, True, "harmonize")


def test_of_several_writers_one_creates_a_json_file(tmp_path):
    uri = str(tmp_path / "lock.json")
    won: list[int] = []
    threads = [threading.Thread(target=lambda n=n: files.create_json(uri, {"n": n}) and won.append(n)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert files.read_json(uri) == {"n": won[0]}
    assert names(tmp_path) == ["lock.json"]


def test_json_keeps_its_values_and_refuses_what_json_has_not(tmp_path):
    uri = str(tmp_path / "a.json")
    files.write_json(uri, {"b": [1, 0.1, None], "ä": "ö"})
    assert files.read_json(uri) == {"b": [1, 0.1, None], "ä": "ö"}
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(uri, {"a": float("nan")})
    files.write_atomic(uri, b"{")
    with pytest.raises(json.JSONDecodeError):
        files.read_json(uri)


def test_the_digest_of_a_folder_depends_on_names_and_bytes(tmp_path):
    for name, content in {"1.dcm": b"a", "2.dcm": b"b"}.items():
        (tmp_path / "x").mkdir(exist_ok=True)
        (tmp_path / "x" / name).write_bytes(content)
    first = files.sha256(str(tmp_path / "x"))
    (tmp_path / "x" / "2.dcm").write_bytes(b"c")
    second = files.sha256(str(tmp_path / "x"))
    (tmp_path / "x" / "2.dcm").rename(tmp_path / "x" / "3.dcm")
    assert len({first, second, files.sha256(str(tmp_path / "x"))}) == 3


def test_the_checksum_is_the_usual_one(tmp_path):
    (tmp_path / "a").write_bytes(b"123456789")
    assert files.crc32(str(tmp_path / "a")) == 0xCBF43926


def test_several_digests_depend_on_their_order_and_one_is_that_of_the_file(tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert files.sha256_all([a]) == files.sha256(a)
    assert len({files.sha256_all([a, b]), files.sha256_all([b, a]), files.sha256(a)}) == 3


def test_removing_takes_files_and_folders_and_minds_no_absence(tmp_path):
    files.write_atomic(str(tmp_path / "a" / "b"), b"")
    files.remove(str(tmp_path / "a"))
    files.remove(str(tmp_path / "a"))
    assert files.listdir(str(tmp_path)) == []
    assert files.listdir(str(tmp_path / "a")) == []


@pytest.mark.parametrize(
    ("fault", "attempts", "made"),
    [
        (OSError(errno.EIO, "input/output error"), 4, 4),
        (ConnectionResetError("dropped"), 3, 3),
        (TimeoutError("slow"), 2, 2),
        (FileNotFoundError("gone"), 4, 1),
        (PermissionError("no"), 4, 1),
        (OSError(errno.ENOSPC, "full"), 4, 1),
        (ValueError("a bug"), 4, 1),
    ],
)
def test_only_faults_that_may_pass_are_tried_again(fault, attempts, made):
    calls, waits = [], []

    def work():
        calls.append(1)
        raise fault

    with pytest.raises(type(fault)):
        files.retrying(work, attempts, sleep=waits.append)
    assert len(calls) == made
    assert len(waits) == made - 1


def test_waits_grow_and_the_result_comes_through():
    waits, answers = [], iter([ConnectionError(), ConnectionError(), ConnectionError(), "done"])

    def work():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert files.retrying(work, 5, wait=1.0, sleep=waits.append) == "done"
    assert all(1.5 * 2**n >= wait >= 2**n for n, wait in enumerate(waits))
    assert len(waits) == 3
