"""Drawn cohorts of every layout with broken and foreign members, and headers with bytes turned: all is accounted for, by name."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from core.errors import InputError, IsovoxError, PlanError, UsageError
from core.io import readers
from core.io.bids import Refused, survey
from core.io.inventory.entries import shown
from core.settings.run import RunSettings
from tasks.pipeline.discover import plan_cohort
from tests.cases.makers import DESCRIPTION, affine_of, head, nifti, series, without_preamble

ROOT = Path(__file__).resolve().parents[2]
TINY = (16, 16, 8)
LABELS = ("01", "A1", "A_1", "a b", "\u00e91", "x.y", "-", "02")
SUFFIXES = (
    "T1w",
    os.fsdecode(b"T1w\xe9"),
    "T2w",
    "FLAIR",
    "mask",
    "bold",
    "label-x_roi",
    "part-phase_T1w",
    "desc-restored_T1w",
    "",
    "acq-a_acq-b_T1w",
)
FOLDERS = ("anat", "func", "Anat", "", "ses-1/anat", "anat/deep")
EXTENSIONS = (".nii.gz", ".nii", ".NII.GZ", ".Nii", ".mgz", ".img", "", ".dat", ".gz", ".nii.gz.part")
RUBBISH = {
    "README": b"read me",
    "notes": b"text without a name",
    "empty": b"",
    "empty.nii.gz": b"",
    "random.nii.gz": os.urandom(300),
    "random": os.urandom(900),
    "x.json": b"{",
    "x.zip": b"PK\3\4",
    "a.hdr": b"\x5c\x01\0\0" + bytes(344),
    "b.img": bytes(200),
    "x.nrrd": b"NRRD0005\n",
    "x.mnc": b"CDF\1",
    "DICOMDIR": b"",
    "._T1w.nii.gz": b"\0\5\x16\7",
    "participants.tsv": b"participant_id\tage\n",
    "dose.dcm": b"no DICOM",
    "\u00fc \u4e2d.nii": os.urandom(400),
    os.fsdecode(b"sc\xe4n.nii.gz"): b"\x1f\x8b",
    os.fsdecode(b"\xff"): bytes(128) + b"DICM",
    "<b>&[/i]\n\t\x1b.nii.gz": b"",
    "x.mif": b"mrtrix image",
    "IM1.dcm.part": bytes(40),
}


@lru_cache(maxsize=1)
def scan() -> dict[str, bytes]:
    """The same tiny scan by how it is written."""
    import gzip

    image = nibabel.Nifti1Image(head(TINY, affine_of(TINY, (8.0, 8.0, 16.0))).astype(np.int16), affine_of(TINY, (8.0, 8.0, 16.0)))
    image.set_qform(image.affine, 1)
    plain = image.to_bytes()
    return {"plain": plain, "packed": gzip.compress(plain, 1)}


@lru_cache(maxsize=1)
def slices(folder: str) -> list[bytes]:
    """The files of a tiny series."""
    place = series(Path(folder) / "slices", shape=(24, 24, 6))
    return [path.read_bytes() for path in sorted(place.iterdir())]


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_bytes(content)


SERIES = ("{}", "{}.dcm", "IM{}.IMA", "{}.img")
LAYERS = ("", "sub-01/anat", "deep/er", "derivatives", ".git")
draw_from = st.sampled_from
members = st.one_of(
    st.tuples(
        st.just("image"), draw_from(LABELS), draw_from(FOLDERS), draw_from(SUFFIXES), draw_from(EXTENSIONS), st.integers(0, 5)
    ),
    st.tuples(st.just("series"), draw_from(LABELS), draw_from(("", "dicom", "a/b")), draw_from(SERIES), st.integers(0, 4)),
    st.tuples(st.just("rubbish"), draw_from(sorted(RUBBISH)), draw_from(LAYERS)),
    st.tuples(st.just("special"), draw_from(("pipe", "loop", "dead", "up", "/dev/null")), draw_from(("", "sub-01/anat"))),
)


def write(root: Path, member: tuple, cache: str) -> None:
    """Add a member to a cohort."""
    if member[0] == "image":
        _, label, folder, suffix, extension, damage = member
        name = "_".join(part for part in (f"sub-{label}", suffix) if part)
        content = scan()["packed" if extension.lower().endswith("gz") else "plain"]
        content = content if damage else content[: len(content) // 2]
        put(root / f"sub-{label}" / folder / f"{name}{extension}", content)
    elif member[0] == "series":
        _, label, folder, name, damage = member
        for number, content in enumerate(slices(cache)):
            path = root / f"sub-{label}" / folder / "series" / name.format(number)
            put(path, content if damage or number < 4 else content[: 100 * number])
            if damage == 1 and number == 0 and path.read_bytes() == content:
                without_preamble(path)
    elif member[0] == "rubbish":
        put(root / member[2] / member[1], RUBBISH[member[1]])
    else:
        _, kind, folder = member
        path = root / folder / f"odd-{kind.strip('/').replace('/', '-')}.nii"
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path):
            return
        if kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to({"loop": path.name, "dead": "nowhere", "up": ".."}.get(kind, kind))


def look(root: Path) -> dict[str, str]:
    """All files by their bytes, and when they were last written."""
    return {
        str(path): f"{path.lstat().st_mtime_ns} {hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ''}"
        for path in root.rglob("*")
    }


def check_named(error: IsovoxError, *codes: str) -> None:
    """A refusal says all four: code, what was wanted, what came, and the remedy."""
    assert all((error.code, error.wanted, error.got, error.remedy))
    assert not codes or error.code in codes


def account(root: Path) -> None:
    """Plan a cohort, and read what is planned: all adds up, and what fails fails by name."""
    before = look(root)
    try:
        found = survey(str(root))
        plan = plan_cohort(RunSettings(input=str(root), out=str(root) + "-out"))
    except (UsageError, PlanError) as error:
        check_named(error, "no-scans")
        return
    ledger = found.ledger
    told = [*ledger.taken, *ledger.refused, *ledger.left]
    assert len(told) == len(set(told))
    there = {shown(str(path.relative_to(root))) for path in root.rglob("*") if path.is_symlink() or not path.is_dir()}
    unread = tuple(f"{folder}/" for folder in ledger.unread)
    assert {path for path in there if not path.startswith(unread) and path not in ledger.unread} == set(told)
    keys = [one.key for one in found.scans]
    assert len(keys) == len(set(keys)) == plan.planned
    assert plan.files.seen == plan.files.taken + plan.files.refused + sum(plan.files.left.values())
    assert set(ledger.refused.values()) <= {one.key for one in found.scans if isinstance(one, Refused)}
    for one in plan.scans:
        try:
            image, grid, _ = readers.load(one.kind, one.uris)
        except InputError as error:
            check_named(error)
        else:
            assert grid == one.source_grid
            assert np.isfinite(image).all()
    assert look(root) == before
    assert not Path(str(root) + "-out").exists()


def draw(folder: Path, described: bool, drawn: list[tuple], cache: str) -> None:
    root = folder / f"c{len(list(folder.iterdir()))}"
    root.mkdir()
    if described:
        put(root / "dataset_description.json", DESCRIPTION.encode())
    for member in drawn:
        write(root, member, cache)
    account(root)


ANY = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@example(described=False, drawn=[("image", "01", folder, "T1w", ".nii.gz", 1) for folder in ("anat", "Anat")])
@settings(max_examples=12, derandomize=True, **ANY)
@given(described=st.booleans(), drawn=st.lists(members, min_size=1, max_size=9))
def test_a_handful_of_cohorts_adds_up(tmp_path_factory, described, drawn):
    draw(tmp_path_factory.mktemp("drawn"), described, drawn, str(tmp_path_factory.getbasetemp()))


@pytest.mark.slow
@pytest.mark.timeout(3000)
@settings(max_examples=500, **ANY)
@given(described=st.booleans(), drawn=st.lists(members, min_size=1, max_size=14))
def test_five_hundred_cohorts_add_up(tmp_path_factory, described, drawn):
    draw(tmp_path_factory.mktemp("drawn"), described, drawn, str(tmp_path_factory.getbasetemp()))


@pytest.mark.slow
@pytest.mark.timeout(3000)
@settings(max_examples=12, derandomize=True, **ANY)
@given(described=st.booleans(), drawn=st.lists(members, min_size=4, max_size=10))
def test_twelve_cohorts_by_the_command_end_each_scan_in_one_state(tmp_path_factory, server, described, drawn):
    root = tmp_path_factory.mktemp("drawn") / "in"
    root.mkdir()
    if described:
        put(root / "dataset_description.json", DESCRIPTION.encode())
    for member in drawn:
        write(root, member, str(tmp_path_factory.getbasetemp()))
    before = look(root)
    command = [sys.executable, "-m", "cli", "run", str(root), f"{root}-out", "--voxel-size", "8"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600, env=os.environ | server)
    assert ended.returncode in {0, 2, 3}
    assert "Traceback" not in ended.stdout + ended.stderr
    assert look(root) == before
    if ended.returncode != 2:
        planned = re.search(r"planned (\d+) = (\d+) done \+ 0 skipped \+ (\d+) flagged \+ (\d+) failed", ended.stdout)
        seen = re.search(r"files: (\d+) seen = (\d+) of scans \+ (\d+) refused \+ (\d+) left out", ended.stdout)
        for total, *parts in ([int(n) for n in match.groups()] for match in (planned, seen) if match):
            assert total == sum(parts)
        assert planned
        assert seen
        assert (ended.returncode == 3) == (int(planned[4]) > 0)


def turned(content: bytes, within: int, seed: int) -> bytes:
    """One byte of a header turned."""
    chosen = np.random.default_rng(seed)
    at, by = int(chosen.integers(0, within)), int(chosen.integers(1, 256))
    return content[:at] + bytes([content[at] ^ by]) + content[at + 1 :]


def nifti_is_named_or_read(path: Path, seed: int) -> None:
    path.write_bytes(turned(scan()["plain"], 348, seed))
    try:
        grid = readers.header("nifti", [str(path)]).grid
        image, on, _ = readers.load("nifti", [str(path)])
    except InputError as error:
        check_named(error)
    else:
        assert grid == on
        assert image.shape == on.shape
        assert np.isfinite(image).all()


def series_is_named_or_read(folder: Path, contents: list[bytes], seed: int) -> None:
    for number, content in enumerate(contents):
        (folder / f"{number}").write_bytes(turned(content, min(900, len(content)), seed) if number == seed % 6 else content)
    try:
        found = survey(str(folder))
    except UsageError as error:
        check_named(error, "no-scans")
        return
    for one in found.scans:
        try:
            assert isinstance(one, Refused) or np.isfinite(readers.load(one.kind, one.uris)[0]).all()
        except InputError as error:
            check_named(error)
    assert len(found.ledger.taken) + len(found.ledger.refused) + len(found.ledger.left) == 6


@pytest.mark.parametrize("count", [60, pytest.param(1600, marks=pytest.mark.slow)])
def test_a_nifti_header_with_a_byte_turned_is_refused_by_name_or_read(tmp_path, count):
    for seed in range(count):
        nifti_is_named_or_read(tmp_path / "x.nii", seed)


@pytest.mark.parametrize("count", [12, pytest.param(400, marks=pytest.mark.slow)])
def test_a_dicom_header_with_a_byte_turned_is_refused_by_name_or_read(tmp_path, count):
    (tmp_path / "in").mkdir()
    contents = slices(str(tmp_path))
    for seed in range(count):
        series_is_named_or_read(tmp_path / "in", contents, seed)


def test_the_makers_make_what_is_read(tmp_path):
    """Else the rest would hold of files that nobody can read."""
    nifti_is_named_or_read(tmp_path / "y.nii", 1)
    (tmp_path / "x.nii").write_bytes(scan()["plain"])
    assert readers.load("nifti", [str(tmp_path / "x.nii")])[0].shape == TINY
    assert readers.load("nifti", [str(nifti(tmp_path / "z.nii.gz"))])[0].shape == (24, 24, 12)
