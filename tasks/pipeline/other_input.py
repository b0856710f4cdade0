"""Refuse to run another input into an output: persons of two datasets may have one label, and one would overwrite the other."""

from __future__ import annotations

from collections.abc import Sequence

from core.engine.plan import CohortPlan, Refusal, ScanPlan
from core.engine.records import ScanRecord
from core.io import claim, files
from core.io.output import Output

SITES = "/isovox/sites/"  # where harmonising writes the table of a site: a place that says nothing of what it names


def check_input(plan: CohortPlan, restored: Sequence[ScanRecord]) -> None:
    """Refuse a plan whose scans would overwrite, or stand beside, others of the same names from another input.

    A dataset that was moved goes on: the bytes of its scans, or of some of them, are the same. A scan that changed is made anew.

    Args:
        plan: of the run.
        restored: the records of the output that have images.

    Raises:
        UsageError: out-other-input.
    """
    before = _other_input(plan) if restored else None
    if before and (scans := _others(plan, restored)):
        source = _place_of(plan.scans[0].uris) if plan.scans and SITES in plan.settings.input else plan.settings.input
        raise claim.refuse_input(plan.settings.out, before, source, scans)


def _other_input(plan: CohortPlan) -> str | None:
    """The input of the earlier run; None where it is this one, or nothing tells."""
    before = claim.input_of(plan.settings.out)
    if before is None or not claim.is_same_input(plan.settings.input, before):
        return before
    former = _former_places(plan) if SITES in plan.settings.input else []
    return former[0] if former and not {_place_of(scan.uris) for scan in plan.scans} & set(former) else None


def _former_places(plan: CohortPlan) -> list[str]:
    """The folders of the scans in the plan that lies in the output."""
    try:
        scans = files.read_json(Output(plan.settings.out).plan)["scans"]
        return [_place_of(scan["uris"]) for scan in scans]
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return []


def _place_of(uris: Sequence[str]) -> str:
    return files.parent_of(files.real(uris[0]))


def _others(plan: CohortPlan, restored: Sequence[ScanRecord]) -> list[str]:
    """The scans of the plan, refused ones too, that have the name of a restored one; none where any has the same bytes, too."""
    by_name = {name: record for record in restored for name in (record.key, *record.outputs)}
    scans: tuple[ScanPlan | Refusal, ...] = (*plan.scans, *plan.refused)
    others = []
    for scan in scans:
        names = (scan.key, f"{scan.stem}.nii.gz") if isinstance(scan, ScanPlan) else (scan.key,)
        known = [by_name[name].inputs.values() for name in names if name in by_name]
        if known and all(_bytes_of(scan) in inputs for inputs in known):
            return []
        others += [scan.key] if known else []
    return others


def _bytes_of(scan: ScanPlan | Refusal) -> str:
    """The sha256 of a scan's files; of one that cannot be read no sha256 at all."""
    if isinstance(scan, ScanPlan):
        return scan.sha256
    try:
        return files.sha256(scan.uri)
    except OSError:
        return ""
