"""What may not be read or written: that scan's reason, or one sentence before anything is done; never the cohort's end.

Whoever may read everything gives that up for the test.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.main import main
from core.io import files
from core.settings.run import RunSettings
from tasks.pipeline.discover import plan_cohort
from tests.cases.makers import bids, nifti, participants, series

VERSION, READ_EVERYTHING = 0x20080522, 0b110  # of Linux' capabilities: DAC_OVERRIDE and DAC_READ_SEARCH


@pytest.fixture
def ordinary(tmp_path) -> Iterator[None]:
    """A process that may not read everything, whoever runs the tests."""
    libc, header = ctypes.CDLL(None, use_errno=True), (ctypes.c_uint32 * 2)(VERSION, 0)
    mine = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, twice
    if getattr(libc, "capget", None) is None or libc.capget(header, mine):
        pytest.skip("this system has no capabilities")
    before = mine[0]
    mine[0] &= ~READ_EVERYTHING
    assert libc.capset(header, mine) == 0
    (tmp_path / "closed").write_text("")
    (tmp_path / "closed").chmod(0)
    assert not os.access(tmp_path / "closed", os.R_OK, effective_ids=True)
    yield
    mine[0] = before
    assert libc.capset(header, mine) == 0


@pytest.fixture
def told(ordinary, capsys):
    """Runs a command: its exit code, and what it said."""

    def run(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out, " ".join(said.err.split())

    return run


@pytest.fixture
def root(tmp_path) -> Iterator[Path]:
    """A dataset of which some may not be read; at the end all may, so that it can be removed."""
    root = bids(tmp_path / "in", "01", "02", "03", "04")
    (root / "sub-04" / "anat" / "sub-04_T1w.json").write_text("{}")
    participants(root, ("participant_id", "age"), ("sub-01", "4"))
    (root / "odd").write_bytes(b"\0\1")
    series(root / "closed")
    series(root / "torn")
    (tmp_path / "rejected.tsv").write_text("scan\nsub-01_T1w\n")
    (tmp_path / "table.tsv").write_text("path\n" + "".join(f"in/sub-0{n}/anat/sub-0{n}_T1w.nii.gz\n" for n in range(1, 5)))
    closed = ["sub-02/anat/sub-02_T1w.nii.gz", "sub-03/anat", "sub-04/anat/sub-04_T1w.json", "participants.tsv", "odd"]
    closed += ["torn/IM0003", *(f"closed/IM{n:04d}" for n in range(12)), "../rejected.tsv"]
    for path in closed:
        (root / path).chmod(0)
    yield root
    for path in closed:
        (root / path).chmod(0o700)


def test_what_may_not_be_read_is_that_scans_reason_and_counted(told, root, tmp_path):
    out = tmp_path / "out"
    code, said, _ = told("plan", root, out)
    assert code == 3
    assert "files: 32 seen = 1 of scans + 28 refused + 3 left out" in said
    for reason, count in (("file-forbidden", 3), ("folder-forbidden", 1), ("sidecar-unreadable", 1), ("dicom-members", 1)):
        assert said.count(f"refused {reason}") == count, reason
    assert "refused closed\tclosed/IM0000" in told("plan", root, out, "--files")[1]
    code, said, _ = told("plan", tmp_path / "table.tsv", out)
    assert code == 3
    assert "files: 4 seen = 1 of scans + 3 refused + 0 left out" in said
    code, said, _ = told("plan", root / "sub-03" / "anat", out)
    assert code == 3
    assert "refused folder-forbidden" in said


def test_a_table_that_may_not_be_read_is_named(told, root, tmp_path):
    table = tmp_path / "rejected.tsv"
    code, _, error = told("plan", root, tmp_path / "out", "--exclude", table)
    assert (code, error.partition(" Check")[0]) == (
        2,
        f"isovox: exclude-table: expected a table of scans to exclude, but got no permission to read {table}.",
    )
    code, _, error = told("plan", table, tmp_path / "out")
    assert code == 2
    assert error.startswith("isovox: input-forbidden: expected permission to read")


def test_an_output_that_may_not_be_written_to_is_refused_before_anything_is_done(told, tmp_path):
    root, out = bids(tmp_path / "in", "01"), tmp_path / "out"
    out.mkdir()
    out.chmod(0o555)
    kinds = (["plan", root], ["run", root], ["simulate", root], ["harmonize", f"a={root}", f"b={root}"])
    commands = [[*words, place] for words in kinds for place in (out, out / "deeper" / "still")]
    commands += [["evaluate", "thick-slice", root, "--methods", "cubic", "--out", out], ["train", "unet-3d", root, "--out", out]]
    write = f"write to {out}. Check its permissions, or name another folder for the output."
    for words in commands:
        code, said, error = told(*words)
        assert (code, said) == (2, ""), words
        assert error == f"isovox: out-forbidden: expected an output that may be written to, but got no permission to {write}"
    assert not any(out.iterdir())


@pytest.mark.parametrize("fault", [5, 116])  # of a damaged disk, and of a network's disk that went
def test_a_file_that_the_system_cannot_read_is_that_scans_reason(tmp_path, monkeypatch, fault):
    nifti(tmp_path / "in" / "good.nii.gz")
    nifti(tmp_path / "in" / "bad.nii.gz")
    real = files.open_uri

    def open_uri(uri):
        if "bad" in uri:
            raise OSError(fault, os.strerror(fault), uri)
        return real(uri)

    monkeypatch.setattr(files, "open_uri", open_uri)
    plan = plan_cohort(RunSettings(input=str(tmp_path / "in"), out=str(tmp_path / "out"), compute={"retries": 0}))
    assert [(refusal.key, refusal.code) for refusal in plan.refused] == [("bad", "file-unreadable")]
    assert re.search(r"expected files that can be read, but got .* of bad.nii.gz\. Check the disk", plan.refused[0].reason)
    assert (plan.files.seen, plan.files.taken, plan.files.refused) == (2, 1, 1)
