"""Names stay in, calls and task runs stay few and small."""

from __future__ import annotations

import base64
import gzip
import json
import math
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cloudpickle
import nibabel
import pytest

from infra.dispatch import MAX_CALL_BYTES
from tasks.pipeline import export, pages
from tasks.restore import tiles, work
from tasks.restore.work import Job
from tests.faults.asking import flow_runs, task_runs
from tests.faults.cohorts import build_cohort, path_of, states, thick_scan
from tests.faults.conftest import OPTIONS, Runner

NAMES = ("Doe^Jane", "Mustermann", "Zebulon", "Quixote", "Thistlewood", "Ragnarsson", "19530617", "StMungos")


def with_names(path: Path, number: int) -> None:
    """A scan with a name wherever a header has room for one, and in its sidecar."""
    image, grid = thick_scan(number)
    scan = nibabel.Nifti1Image(image, grid.affine)
    scan.header["descrip"], scan.header["aux_file"] = NAMES[0].encode(), NAMES[1].encode()
    scan.header["db_name"], scan.header["intent_name"] = NAMES[2].encode(), NAMES[3].encode()
    scan.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", f"patient {NAMES[4]}".encode()))
    nibabel.save(scan, path)
    side = {"PatientName": NAMES[5], "PatientBirthDate": NAMES[6], "InstitutionName": NAMES[7], "SliceThickness": 6.0}
    side |= {"SeriesDescription": f"T1 {NAMES[5]}", "Manufacturer": "Siemens", "ImageComments": NAMES[4]}
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(side))


def all_bytes(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file below a folder, also as it is once decompressed, and what pages carry inside."""
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        content = path.read_bytes()
        yield path, content
        inside = [content] if path.suffix == ".gz" else []
        if path.suffix == ".html":
            inside = [base64.b64decode(found + b"==") for found in re.findall(rb"[A-Za-z0-9+/]{200,}", content)]
        for packed in inside:
            yield path, packed
            with suppress(OSError, EOFError, zlib.error):
                yield path, gzip.decompress(packed)


def test_no_name_planted_in_a_header_or_sidecar_comes_out(isovox: Runner, tmp_path: Path, out: Path) -> None:
    folder = build_cohort(tmp_path / "bids", 3)
    with_names(path_of(folder, "01"), 1)
    with_names(path_of(folder, "02"), 2)
    torn = path_of(folder, "02")
    torn.write_bytes(torn.read_bytes()[:30000])
    assert any(NAMES[0].encode() in content for _, content in all_bytes(folder))
    said = isovox("run", folder, out, *OPTIONS, code=3)
    assert states(out)["sub-01_T1w"][0] == "done"
    everywhere = [*all_bytes(out), *all_bytes(isovox.logs), (Path("terminal"), said.encode())]
    words = [name.encode() for name in NAMES]
    assert [(path, word) for path, content in everywhere for word in words if word in content] == []
    assert any(path.suffix == ".db" for path, _ in everywhere)


@pytest.mark.parametrize(
    "function", [work.ingest, work.restore, tiles.restore_some_tiles, tiles.assemble_blocks, export.export, pages.report]
)
def test_a_call_that_is_sent_to_a_worker_is_small(function: Any) -> None:
    keys = tuple(f"sub-{'x' * 60}_ses-{'y' * 60}_acq-{number}_T1w" for number in range(6))
    seconds = tuple((name, 123456.789) for name in ("ingest", "restore", "export"))
    job = Job("s3://" + "bucket/" * 60, "f" * 64, keys, 10**6, 10**6 + 64, seconds, "a" * 32)
    assert len(cloudpickle.dumps((function, job))) < MAX_CALL_BYTES == 4096


@pytest.mark.slow
@pytest.mark.parametrize(("scans_at_once", "most"), [(64, 8), (1, 8 * 30)])
def test_task_runs_stay_few(isovox: Runner, tmp_path: Path, out: Path, scans_at_once: int, most: int) -> None:
    folder = build_cohort(tmp_path / "bids", 30, (26, 26, 9))
    isovox("run", folder, out, *OPTIONS, constants={"flows.reprocess:BATCH_SCANS": scans_at_once})
    assert len(states(out)) == 30
    (latest,) = flow_runs(isovox, out)
    assert latest["state_type"] == "COMPLETED"
    assert 0 < task_runs(isovox, latest["id"]) <= most


@pytest.mark.parametrize("count", [130, pytest.param(2000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_a_large_cohort_drowns_neither_scheduler_nor_server_nor_driver(isovox: Runner, tmp_path: Path, count: int) -> None:
    command = [sys.executable, Path(__file__).with_name("many.py"), str(count), tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env=isovox.environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["done"] == found["calls"] / 4 == count
    assert found["most_in_flight"] <= 2 * 2 * 3  # two calls a worker in each of the batches that are worked on
    assert found["most_at_scheduler"] <= 2 * found["most_in_flight"]
    assert found["largest_call"] < 4096
    assert task_runs(isovox, found["flow_run"]) <= 6 * math.ceil(count / 64)
    assert found["growth"] < 40 * 2**20  # bytes of the driver's memory, from the half on


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_cohort_killed_at_a_third_is_gone_on_with(tmp_path: Path, plain_environment: dict[str, str]) -> None:
    command = [sys.executable, Path(__file__).with_name("whole.py"), "60", tmp_path / "whole"]
    done = subprocess.run(command, capture_output=True, text=True, env=plain_environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert [found[name]["code"] for name in ("killed", "resumed", "again")] == [-9, 0, 0]
    assert 20 <= found["killed"]["new"] < 60
    assert found["killed"]["new"] + found["resumed"]["new"] == 60
    assert found["again"]["new"] == 0
