"""Fixtures for all tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tasks.report import CohortView, ScanView

settings.register_profile("any-machine", deadline=None)  # a busy machine's pauses are not a test's fault
settings.load_profile("any-machine")


@pytest.fixture(autouse=True, scope="session")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Isovox's own folder, with the registry of models, away from the user's."""
    folder = tmp_path_factory.mktemp("home")
    os.environ["ISOVOX_HOME"] = str(folder)
    return folder


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """A command with --quiet quietens its process: that of the tests is loud again after each."""
    yield
    if progress := sys.modules.get("flows.runs.progress"):
        progress.__dict__["_quiet"] = False


@pytest.fixture(scope="session")
def scans() -> Path:
    """The folder of real scans beside the project; tests that need it skip where it is missing."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs real scans in {folder}")
    return folder


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty bucket on a real S3 server, found by its AWS variables in the environment; for tests marked slow."""
    from tests.seaweed import environment, seaweed

    with seaweed(tmp_path_factory.mktemp("seaweed")) as variables, environment(variables):
        yield "s3://tests"


@pytest.fixture(scope="session")
def scan_view() -> ScanView:
    """A restored scan to draw: a head with one bright ball on its right, front and top, in slices of 4 mm, flagged."""
    from core.engine.quality import CHECKS
    from core.engine.records import ScanRecord
    from core.geometry.grid import Grid
    from core.geometry.resample import interpolate
    from tasks.report import ScanView

    target = Grid((60, 72, 64), np.array([[1, 0, 0, -30], [0, 1, 0, -36], [0, 0, 1, -32], [0, 0, 0, 1.0]]))
    source = target.refine(2, 0.25)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in target.shape), indexing="ij")
    head = 100.0 * (x**2 / 0.8 + y**2 / 0.85 + z**2 / 0.8 < 1) + 100.0 * ((x - 0.4) ** 2 + (y - 0.4) ** 2 + (z - 0.4) ** 2 < 0.03)
    image = head.astype(np.float32)
    measured = image.reshape(60, 72, 16, 4).mean(axis=3)
    nearest, cubic = (interpolate(measured, source, target, order) for order in (0, 3))
    record = ScanRecord(
        key="sub-01_T1w",
        state="flagged",
        reason="consistency <script>alert(1)</script> is 15 noise SD (at most 12 noise SD)",
        code="consistency",
        digest="ab" * 32,
        method="unires",
        inputs={"sub-01/anat/sub-01_T1w.nii.gz": "cd" * 32},
        quality={check.figure: 0.01 for check in CHECKS} | {"consistency": 15.0, "noise_sd": 2.0, "non_finite": 0.0},
        metrics={"psnr": 31.2, "psnr_cubic": 30.1},
        seconds={"restore": 1.5},
        provenance={"Method": "unires", "Settings": {"voxel_size": 1.0}},
    )
    noise = np.random.default_rng(0).standard_normal(measured.shape).astype(np.float32)
    links = {"cohort": "../report.html", "viewer": "sub-01_T1w_viewer.html", "image": "../sub-01_desc-restored_T1w.nii.gz"}
    return ScanView(record, nearest, cubic, image, target, noise, source, links=links)


@pytest.fixture(scope="session")
def cohort_view(scan_view: ScanView) -> CohortView:
    """Seven scans: one flagged, four done, one skipped, one that failed and has no page."""
    from core.engine.quality import CHECKS
    from core.engine.records import ScanRecord
    from core.settings.run import QualityThresholds
    from tasks.report import CohortView

    def record(number: int, state: str) -> ScanRecord:
        quality = {check.figure: 0.01 for check in CHECKS} | {"consistency": 10.0 - number, "noise_sd": number / 2}
        return ScanRecord(key=f"sub-{number:02}_T1w", state=state, quality=quality, metrics={"psnr": 30.0 + number})

    done = [record(number, "done") for number in (10, 2, 3, 4)]
    failed = ScanRecord(
        key="sub-99_T1w", state="failed", code="empty", reason="empty: expected a scan, but got /home/jane/x/sub-99.nii"
    )
    settings = {"method": "unires", "voxel_size": 1.0, "quality": QualityThresholds().model_dump()}
    links = {"sub-01_T1w": "reports/sub-01_T1w.html"}
    records = [failed, scan_view.record, record(5, "skipped"), *done]
    facts = {each.key: {"contrast": "T1w", "site": "oslo" if each.state == "done" else "lyon"} for each in records}
    view = CohortView(records, "study", settings, "ef" * 32, {"isovox": "0.1.0"}, links, facts=facts)
    key = scan_view.record.key
    return replace(view, viewers={key: f"reports/{key}_viewer.html"}, thumbnails={key: f"reports/{key}/thumbnail.webp"})
