"""What is new, changed or gone in a cohort since its output was made, and what a newer model would make anew."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

from core.digest import digest_of
from core.engine.plan import CohortPlan, ScanPlan, Weights
from core.engine.planning import complete
from core.engine.records import ScanRecord
from core.errors import IsovoxError, listed
from core.io import bids, files
from core.io.inventory.listing import look
from core.io.output import Output
from core.settings.base import Settings
from core.settings.scans import Selection

SHOWN = 20  # names that a summary tells of a kind


class Changes(Settings):
    """The scans of a run by why it does something with them, or does not; every planned one is in exactly one kind.

    Attributes:
        new: never restored here.
        changed: other bytes in the input than were restored.
        again: the same bytes, to be made anew: other settings or model, a failure, damaged files.
        unchanged: done.
        refused: by the gate.
        removed: restored once, no longer in the input; what was made of them is kept.
        newer: the model that the registry's alias has come to name, where the output keeps its own; else empty.
        would_redo: how many scans that one would restore anew.
        would_take: forecast of this, in seconds.
    """

    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    newer: str = ""
    would_redo: int = 0
    would_take: float = 0.0

    def counts(self) -> str:
        """How many there are of each kind, in a line."""
        kinds = {kind: len(getattr(self, kind)) for kind in ("new", "changed", "again", "unchanged", "refused", "removed")}
        return ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count or kind in {"new", "changed", "unchanged"})

    def notes(self) -> list[str]:
        """What is to be known beside the counts, a line each."""
        lines = []
        if self.removed:
            lines.append(
                f"no longer in the input, their outputs kept until isovox clean removes them: {listed(self.removed, SHOWN)}"
            )
        if self.newer:
            cost = f"{self.would_redo} scans restored again, about {max(1, round(self.would_take / 60))} min of the workers"
            lines.append(f"{self.newer} is there now; it would mean {cost}; set on_new_model to redo for this")
        return lines


def _why(scan: ScanPlan, record: ScanRecord | None, todo: Collection[str]) -> str:
    if scan.key not in todo:
        return "unchanged"
    if record is None or not record.outputs:
        return "new" if record is None or record.state != "failed" else "again"
    return "again" if scan.sha256 in record.inputs.values() else "changed"


def changes_of(
    plan: CohortPlan, todo: Collection[str], newer: Weights | None = None, newer_others: Mapping[str, Weights] | None = None
) -> Changes:
    """Sort the scans of a plan.

    Args:
        plan: of the run, before it begins.
        todo: keys of the scans that are not done.
        newer: the model that the registry's alias names, where the plan keeps to the output's own.
        newer_others: the same of the methods that single scans have of their own, by their names.
    """
    out = Output(plan.settings.out)
    known = {record.key: record for record in out.records()}
    kinds: dict[str, list[str]] = {"new": [], "changed": [], "again": [], "unchanged": []}
    for scan in plan.scans:
        kinds[_why(scan, known.get(scan.key), todo)].append(scan.key)
    restored = {key for key, record in known.items() if record.outputs}
    there = {scan.key for scan in plan.scans} | {refusal.key for refusal in plan.refused}
    gone = restored - there
    gone = gone - _unselected(plan) if gone else gone
    changed = {name: tuple(keys) for name, keys in kinds.items()}
    refused = tuple(refusal.key for refusal in plan.refused)
    return Changes(**changed, refused=refused, removed=tuple(sorted(gone)), **_by_newer(plan, newer, newer_others or {}))


def _unselected(plan: CohortPlan) -> set[str]:
    """Keys of all scans in the input, where the run selects some."""
    if plan.settings.selection == Selection():
        return set()
    wider = plan.settings.selection.model_copy(update={"participant_label": (), "session_label": (), "exclude": ()})
    keys: set[str] = set()
    for selection in (Selection(), wider):
        try:
            keys |= {scan.key for scan in bids.discover(plan.settings.input, selection)}
        except IsovoxError:
            continue
    return keys


def _by_newer(plan: CohortPlan, newer: Weights | None, newer_others: Mapping[str, Weights]) -> dict[str, Any]:
    """What restoring by newer models would mean; its plan is kept in the output."""
    out = Output(plan.settings.out)
    models = [*([newer] if newer else []), *newer_others.values()]
    if not models:
        files.remove(out.redo)
        return {}
    settings = plan.settings.model_copy(update={"on_new_model": "redo"})
    would = complete(settings, plan.scans, plan.refused, newer or plan.weights, others={**plan.others, **newer_others})
    files.write_json(out.redo, would.model_dump(mode="json"))
    before = {scan.key: scan.restore_digest for scan in plan.scans}
    redone = tuple(scan for scan in would.scans if scan.restore_digest != before[scan.key])
    name = " and ".join(f"{model.name} version {model.version}" for model in models)
    seconds = would.model_copy(update={"scans": redone}).forecast.seconds
    return {"newer": name, "would_redo": len(redone), "would_take": seconds}


def note_removed(out: Output, removed: Collection[str]) -> None:
    """Keep in the output which scans are gone, and since when that is known."""
    try:
        before = files.read_json(out.removed)
    except (FileNotFoundError, ValueError):
        before = {}
    now = {key: before.get(key, time.strftime("%Y-%m-%d %H:%M:%S")) for key in sorted(removed)}
    if now:
        files.write_json(out.removed, now)
    elif before:
        files.remove(out.removed)


# -- a quick look -----------------------------------------------------------------------------------------------------------


def seen_now(plan_settings: dict[str, Any], weights: Weights | None) -> dict[str, Any] | None:
    """What a quick look at a cohort tells: its listing, the settings and the model; None where a listing tells too little.

    Args:
        plan_settings: of the run, as JSON.
        weights: that it would use.
    """
    listing = look(plan_settings["input"], plan_settings["out"])
    if listing is None:
        return None
    how = {name: value for name, value in plan_settings.items() if name not in {"compute", "tracking_uri"}}
    return {"listing": listing, "settings": digest_of(how), "model": weights.sha256 if weights else None}


def nothing_new(out: Output, now: dict[str, Any] | None) -> bool:
    """Whether all is as the latest run that left nothing to do had seen it."""
    try:
        return now is not None and files.read_json(out.seen) == now and out.page_whole(out.cohort_page)
    except (FileNotFoundError, ValueError):
        return False
