"""Outputs held against a record of what they were: ``python -m tests.goldens check`` (or ``record``), ``--only NAME …`` for some.

The record beside this file holds, by case and scan, the plan's digests, the sha256 of the restored NIfTI and the figures of
quality; of simulations, evaluations and trainings bytes and scores. NAME is a case (``unires``) or a kind (``synthetic``,
``sharp``, ``shared``, ``demo``). Exit codes: 0 all as recorded, 1 some differ, 77 digests and figures as recorded but bytes
not, on a machine whose libraries round otherwise than the record's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

from tests.goldens.cases import CASES, PLAIN, Case
from tests.goldens.cohort import SHARP, write_cohort
from tests.goldens.machine import roundings

RECORD = Path(__file__).with_name("expected.json")
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
BYTES = re.compile(" › (nifti|weights) › ")
DIGESTS = ("ingest_digest", "restore_digest", "digest")
SAME, DIFFERENT, ELSEWHERE = 0, 1, 77
TOLERANCE = 1e-3  # relative, of figures on another machine
Outcome = dict[str, Any]


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _run(words: list[str]) -> None:
    """The command ``isovox``, in this process."""
    from cli.main import main as isovox

    code = isovox(words)
    if code != 0:
        raise RuntimeError(f"isovox {' '.join(words)} ended with exit code {code}")


def _outputs(case: Case, work: Path) -> list[Path]:
    """Run a case; the output folders it made."""
    if case.kind == "demo":
        _run(["demo", "demo-out"])
        return sorted((work / "demo-out").glob("restored-*"))
    _run(_line(case, work))
    return [work / case.name]


def _line(case: Case, work: Path) -> list[str]:
    """The words of a case's command."""
    tracking = ["--quiet", "--tracking-uri", f"sqlite:///{work / 'mlflow.db'}"]
    if case.kind != "sharp":
        source = "made" if case.kind == "synthetic" else _as_person(SHARED / case.source) if case.person else SHARED / case.source
        return ["run", str(source), case.name, *tracking, *PLAIN, *case.words]
    words = [word.format(out=case.name) for word in case.words]
    return [*words, "--quiet"] if words[0] == "simulate" else [*words, "--out", case.name, *tracking]


def _as_person(folder: Path) -> str:
    """Links to the scans of a folder, named as one person's of a BIDS dataset."""
    place = Path(f"{folder.name}-bids", "sub-01", "anat")
    place.mkdir(parents=True, exist_ok=True)
    for scan in sorted(folder.glob("*.nii.gz")):
        suffix = scan.name.removesuffix(".nii.gz").replace("W", "w")
        (place / f"sub-01_{suffix}.nii.gz").unlink(missing_ok=True)
        (place / f"sub-01_{suffix}.nii.gz").symlink_to(scan)
    return place.parts[0]


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


def _scan(out: Path, planned: dict[str, Any]) -> Outcome:
    """What is recorded of one scan: digests of its plan, bytes of its image, figures of its record."""
    record = _read(out / "isovox" / "scans" / f"{planned['key']}.json")
    images = [path for path in record["outputs"] if path.endswith((".nii", ".nii.gz"))]
    return {
        **{name: planned[name] for name in DIGESTS},
        "nifti": {path: _sha256((out / path).read_bytes()) for path in images},
        "state": record["state"],
        "figures": record["quality"] | record["metrics"],
    }


def _made(out: Path) -> Outcome:
    """What is recorded of another command than a run: bytes of its images and weights, figures of its scores."""
    images = {str(path.relative_to(out)): _sha256(path.read_bytes()) for path in sorted(out.rglob("*.nii.gz"))}
    weights = {str(n): _tensors(path) for n, path in enumerate(sorted(out.glob("model/**/*.safetensors")))}
    scores = {str(path.relative_to(out)): _read(path)["figures"] for path in sorted(out.glob("scores/**/*.json"))}
    return {"nifti": images, "weights": weights, "figures": scores}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _tensors(path: Path) -> str:
    """The sha256 of the numbers of a safetensors file, without the header that names them."""
    content = path.read_bytes()
    return _sha256(content[8 + int.from_bytes(content[:8], "little") :])


def outcome(case: Case, work: Path) -> Outcome:
    """Run a case and read what it made.

    Args:
        case: to run.
        work: the folder to work in, which is the current one: digests hold what paths were said, and those are relative.
    """
    found: Outcome = {}
    for out in _outputs(case, work):
        if case.kind == "sharp":
            found[out.name] = _made(out)
            continue
        plan = _read(out / "isovox" / "plan.json")
        scans = {scan["key"]: _scan(out, scan) for scan in plan["scans"]}
        found[out.name] = {"plan": plan["digest"], "settings": plan["settings_digest"], "scans": scans}
    return found


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a JSON value by their path."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from flat(part, f"{path} › {name}" if path else name)
    else:
        yield path, value


def differences(recorded: Outcome, found: Outcome, *, elsewhere: bool) -> tuple[list[str], list[str]]:
    """Lines that tell what differs, and which bytes do.

    Args:
        recorded: of a case. What it lacks (a figure that is new) is not compared.
        found: likewise.
        elsewhere: whether this machine rounds otherwise; then figures may differ a little.
    """
    now = dict(flat(found))
    faults: list[str] = []
    images: list[str] = []
    for path, wanted in flat(recorded):
        got = now.get(path)
        close = (
            isinstance(wanted, float) and isinstance(got, float) and elsewhere and math.isclose(wanted, got, rel_tol=TOLERANCE)
        )
        if got != wanted and not close:
            (images if BYTES.search(path) else faults).append(f"{path}: wanted {wanted}; got {got}")
    return faults, images


def chosen(names: list[str]) -> list[Case]:
    """The cases by name or kind; all where none is named. Shared ones are left out where the scans are missing."""
    known = {case.name for case in CASES} | {case.kind for case in CASES}
    if unknown := sorted(set(names) - known):
        raise SystemExit(f"wanted names among {', '.join(sorted(known))}; got {', '.join(unknown)}; name one of those")
    asked = {case.name for case in CASES if not names or {case.name, case.kind} & set(names)}
    asked |= {case.needs for case in CASES if case.name in asked}
    picked = [case for case in CASES if case.name in asked]
    for case in picked:
        if case.kind == "shared" and not (SHARED / case.source).is_dir():
            _say(f"{case.name}: skipped, needs real scans in {SHARED / case.source}")
    return [case for case in picked if case.kind != "shared" or (SHARED / case.source).is_dir()]


def outcomes(cases: list[Case]) -> Iterator[tuple[Case, Outcome]]:
    """Run the cases in a folder of their own, with one Prefect server for all."""
    from infra.services import prefect_server

    with tempfile.TemporaryDirectory(prefix="goldens-") as folder, chdir(folder):
        work = Path(folder)
        os.environ["ISOVOX_HOME"] = str(work / "home")
        write_cohort(work / "made")
        write_cohort(work / "sharp", SHARP)
        with prefect_server(work / "state"):
            for case in cases:
                started = time.monotonic()
                found = outcome(case, work)
                _say(f"{case.name}: {time.monotonic() - started:.1f} s")
                yield case, found


def record(cases: list[Case]) -> int:
    """Write what the cases give into the record."""
    kept = _read(RECORD) if RECORD.exists() else {"cases": {}}
    for case, found in outcomes(cases):
        kept["cases"][case.name] = found
        kept["roundings"] = roundings()
        RECORD.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    return SAME


def check(cases: list[Case]) -> int:
    """Hold what the cases give against the record."""
    kept = _read(RECORD)
    elsewhere = kept["roundings"] != roundings()
    faults: list[str] = []
    images: list[str] = []
    for case, found in outcomes(cases):
        each = differences({case.name: kept["cases"][case.name]}, {case.name: found}, elsewhere=elsewhere)
        faults, images = faults + each[0], images + each[1]
    for line in [*faults, *images]:
        _say(line)
    if faults or (images and not elsewhere):
        _say(f"{len(faults) + len(images)} differences")
        return DIFFERENT
    if images:
        _say("digests as recorded; bytes not compared: this machine's numpy, scipy or torch round otherwise than the record's")
        return ELSEWHERE
    _say(f"{len(cases)} cases as recorded")
    return SAME


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        "python -m tests.goldens", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("record", "check"))
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    options = parser.parse_args()
    return {"record": record, "check": check}[options.what](chosen(options.only))


if __name__ == "__main__":
    sys.exit(main())
