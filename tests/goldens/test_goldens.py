"""What restores today restores the same tomorrow: digests of plans on every machine, bytes where the libraries round alike."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.helpers.options import add_settings, settings_from
from core.engine.plan import Weights
from core.models.bundle import read_bundle
from core.settings.run import RunSettings
from tasks.pipeline.discover import plan_cohort
from tests.goldens.__main__ import DIGESTS, ELSEWHERE, RECORD, differences
from tests.goldens.cases import CASES, PLAIN, Case
from tests.goldens.cohort import write_cohort

PLANNED = [case for case in CASES if case.kind == "synthetic" and not case.needs]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return json.loads(RECORD.read_text())["cases"]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_cohort(folder)
    return folder


def settings_of(case: Case, cohort: Path) -> RunSettings:
    parser = argparse.ArgumentParser()
    add_settings(parser)
    return settings_from(parser.parse_args([str(cohort), str(cohort.parent / "goldens-out"), *PLAIN, *case.words]), RunSettings)


def weights_of(settings: RunSettings) -> Weights | None:
    """The weights that come with isovox, found without the registry, whose import takes seconds."""
    if settings.method != "resunet-3d":
        return None
    (config,) = ROOT.glob("core/**/resunet-3d/config.json")
    return Weights(folder=str(config.parent), sha256=read_bundle(str(config.parent)).digest)


@pytest.mark.parametrize("case", PLANNED, ids=lambda case: case.name)
def test_plans_have_the_digests_of_the_record(case: Case, cohort: Path, recorded: dict[str, Any]) -> None:
    settings = settings_of(case, cohort)
    plan = plan_cohort(settings, weights_of(settings))
    wanted = recorded[case.name][case.name]
    assert plan.settings_digest == wanted["settings"]
    digests = {scan.key: {name: getattr(scan, name) for name in DIGESTS} for scan in plan.scans}
    assert digests == {key: {name: scan[name] for name in DIGESTS} for key, scan in wanted["scans"].items()}
    assert plan.digest == wanted["plan"]


def test_both_modes_are_recorded_with_the_same_bytes(recorded: dict[str, Any]) -> None:
    scan, tile = (recorded[name][name]["scans"] for name in ("resunet-scan", "resunet-tile"))
    assert {key: one["nifti"] for key, one in scan.items()} == {key: one["nifti"] for key, one in tile.items()}


def test_every_case_is_recorded_and_no_other(recorded: dict[str, Any]) -> None:
    assert set(recorded) == {case.name for case in CASES}


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_changed_digest_figure_or_image_is_told_and_a_new_figure_is_not(elsewhere: bool) -> None:
    before = {"out": {"plan": "aa", "scans": {"s": {"nifti": {"s.nii": "bb"}, "figures": {"seam": 1.0, "old": 2.0}}}}}
    after = {"out": {"plan": "ab", "scans": {"s": {"nifti": {"s.nii": "cc"}, "figures": {"seam": 1.0001, "new": 3.0}}}}}
    faults, images = differences(before, after, elsewhere=elsewhere)
    figures = [] if elsewhere else ["out › scans › s › figures › seam: wanted 1.0; got 1.0001"]
    assert faults == ["out › plan: wanted aa; got ab", *figures, "out › scans › s › figures › old: wanted 2.0; got None"]
    assert images == ["out › scans › s › nifti › s.nii: wanted bb; got cc"]
    assert differences(before, before, elsewhere=elsewhere) == ([], [])


@pytest.mark.slow
def test_images_and_weights_have_the_bytes_of_the_record() -> None:
    command = [sys.executable, "-m", "tests.goldens", "check", "--only", "synthetic", "sharp"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == ELSEWHERE:
        pytest.skip(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stdout + done.stderr
