"""Tables for a terminal."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from rich.markup import escape
from rich.table import Column, Table

from cli.helpers.console import console, say
from core.engine.plan import CohortPlan, ScanPlan
from core.engine.records import ScanRecord
from core.errors import counted
from core.geometry.slices import across
from tasks.course import spoken
from tasks.pipeline.results import REASONS, counts, row

if TYPE_CHECKING:
    from core.io.output import Output
    from infra.doctor import Check

COLOURS = {
    "done": "green",
    "skipped": "cyan",
    "flagged": "yellow",
    "failed": "red",
    "waiting": "blue",
    "running": "blue",
    "interrupted": "magenta",
}
BASELINE = "cubic, not repaired"


def _number(value: float | None, places: int) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{places}f}"


def _cells(line: dict[str, object], colour: str) -> list[str]:
    figures = [_number(line[name], places) for name, places in (("psnr", 2), ("ssim", 4), ("consistency", 2))]  # type: ignore[arg-type]
    state = f"[{colour}]{line['state']}[/{colour}]" if colour else str(line["state"])
    names = str(line["scan"]), str(line["method"] or "–")
    return [*names, *figures, state, _number(line["seconds"], 1), escape(str(line["reason"]))]  # type: ignore[arg-type]


def _baseline(record: ScanRecord) -> dict[str, object] | None:
    """What cubic interpolation gives of the same scan, where it was compared with the truth."""
    if "psnr_cubic" not in record.metrics:
        return None
    figures = {name: record.metrics[f"{name}_cubic"] for name in ("psnr", "ssim")}
    consistency = record.quality.get("consistency_cubic")
    return {
        "scan": record.key,
        "method": BASELINE,
        **figures,
        "consistency": consistency,
        "state": "compared",
        "seconds": None,
        "reason": "",
    }


def scan_column() -> Column:
    """The names of scans, whole: scans of one session begin alike, so that one that is cut short names neither."""
    return Column("scan", overflow="fold")


def scan_table(records: Sequence[ScanRecord], progress: Mapping[str, str] = MappingProxyType({})) -> Table:
    """A line a scan; and one for cubic interpolation where both were scored.

    Args:
        records: of all planned scans.
        progress: how those stand that are not finished, by key.
    """
    table = Table(scan_column(), "method", box=None, pad_edge=False)
    for name in ("PSNR dB", "SSIM", "consistency"):
        table.add_column(name, justify="right")
    table.add_column("state", min_width=7)
    table.add_column("seconds", justify="right")
    table.add_column("reason", overflow="fold", ratio=1)
    for record in records:
        if (other := _baseline(record)) is not None:
            table.add_row(*_cells(other, ""), style="dim")
        state = progress.get(record.key, record.state)
        changes = {"state": state, "reason": REASONS[state]} if state in REASONS else {"state": state}
        table.add_row(*_cells(row(record) | changes, COLOURS[state]))
    return table


def simulation_table(records: Sequence[ScanRecord]) -> Table:
    """A line a simulated scan."""
    table = Table(scan_column(), "operator", "state", box=None, pad_edge=False)
    table.add_column("seconds", justify="right")
    table.add_column("image or reason", overflow="fold", ratio=1)
    for record in records:
        state = f"[{COLOURS[record.state]}]{record.state}[/]"
        outcome = record.reason or " ".join(record.outputs)
        table.add_row(record.key, record.method or "–", state, _number(record.seconds.get("simulate"), 1), escape(outcome))
    return table


def summary(records: Sequence[ScanRecord], progress: Mapping[str, str] = MappingProxyType({})) -> str:
    """Planned, and how many are in each state."""
    by_state = counts([record for record in records if record.key not in progress])
    by_state |= {state: n for state in REASONS if (n := sum(waiting == state for waiting in progress.values()))}
    return f"planned {len(records)} = " + " + ".join(f"{n} {state}" for state, n in by_state.items())


def _shape(scan: ScanPlan) -> str:
    grids = (scan.source_grid, scan.target_grid)
    sizes = ["×".join(map(str, grid.shape)) for grid in grids]
    mm = ["×".join(f"{v:.3g}" for v in grid.spacing) for grid in grids]
    return f"{sizes[0]} at {mm[0]} mm → {sizes[1]} at {mm[1]} mm"


def _gib(value: float) -> str:
    return f"{value / 2**30:.2f} GiB"


def plan_table(plan: CohortPlan, todo: Iterable[str]) -> Table:
    """A line a scan: what would be done, where it runs and what it costs."""
    open_keys = set(todo)
    table = Table(scan_column(), Column("voxels", overflow="fold"), "mode", box=None, pad_edge=False)
    for name in ("tiles", "memory", "disk", "seconds"):
        table.add_column(name, justify="right")
    table.add_column("", overflow="fold")
    for scan in plan.scans:
        cost = scan.forecast
        what = "to do" if scan.key in open_keys else "done already"
        table.add_row(
            scan.key, _shape(scan), scan.mode, str(scan.tiles), _gib(cost.memory), _gib(cost.disk), f"{cost.seconds:.0f}", what
        )
    for refusal in plan.refused:
        table.add_row(refusal.key, "–", "–", "–", "–", "–", "–", f"[red]refused[/red] {escape(refusal.reason)}")
    return table


def _seen(scan: ScanPlan) -> str:
    """What its restoration takes it for, with the distance of its slices."""
    grid = scan.source_grid
    axis, slices = grid.slice_axis, "no axis is coarser than the others"
    if axis is not None:
        wide = "" if across(grid) == axis else f", pixels {grid.spacing[axis]:.3g} mm wide"
        slices = f"slices {grid.spacing[across(grid)]:.3g} mm apart{wide}"
    return f"{scan.forward.describe()} ({slices})"


def _came_about(plan: CohortPlan) -> list[str]:
    """How the scans came from the anatomy, as a restoration assumes it, and how many bring a mask that it takes."""
    kinds = Counter(_seen(scan) for scan in plan.scans)
    lines = ["scans: " + "; ".join(f"{count} of {description}" for description, count in kinds.most_common())] if kinds else []
    masks = sum(scan.mask is not None for scan in plan.scans)
    return [*lines, *([f"masks: beside {masks} of {len(plan.scans)} scans, taken by {plan.settings.method}"] if masks else [])]


def _size(voxel_size: float | Literal["auto"]) -> str:
    return "the smallest voxel size of each" if voxel_size == "auto" else f"{voxel_size:g} mm"


def plan_summary(plan: CohortPlan) -> str:
    """The whole run's cost, and the plan's digest."""
    cost, settings = plan.forecast, plan.settings
    lines = [
        (
            f"{counted(len(plan.scans), 'scan')} by {settings.method} at {_size(settings.voxel_size)} "
            f"on {settings.compute.cluster}, {counted(settings.compute.workers, 'worker')}"
        ),
        (
            f"forecast: {_gib(cost.memory)} memory, {_gib(cost.disk)} disk, {spoken(cost.seconds)} of work, "
            f"{cost.objects} stored objects"
        ),
        *plan.files.lines(),
        *_came_about(plan),
        f"plan {plan.digest[:16]}, settings {plan.settings_digest[:16]}",
        *(f"note: {note}" for note in plan.notes),
    ]
    return "\n".join(lines)


def doctor_table(checks: Sequence[Check]) -> Table:
    """A line a check."""
    colours = {"ok": "green", "optional": "cyan", "warning": "yellow", "missing": "red"}
    table = Table("", "state", "found", "remedy", box=None, pad_edge=False)
    for check in checks:
        table.add_row(check.name, f"[{colours[check.state]}]{check.state}[/]", escape(check.found), escape(check.remedy))
    return table


def show(
    records: Sequence[ScanRecord], out: Output, plan: CohortPlan, progress: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Print the table of scans, what became of the input's files, and where to look on.

    Args:
        records: of all planned scans.
        out: where they lie.
        plan: of the run.
        progress: how scans stand that are not finished, by key.
    """
    terminal = console()
    terminal.print(scan_table(records, progress))
    terminal.print(summary(records, progress))
    for line in plan.files.lines():
        say(line)
    if out.page_whole(out.cohort_page):
        say(f"report: {out.cohort_page}")
    say(f"pages of Prefect and MLflow: isovox ui {shlex.quote(out.uri)}")
