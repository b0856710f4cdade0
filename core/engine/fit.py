"""Whether a plan can be carried out here: memory, disk, and what the output holds already."""

from __future__ import annotations

from collections.abc import Collection

from core.engine.plan import CohortPlan
from core.errors import PlanError, counted, listed

RECORDS = 32 << 20  # bytes that the databases of the services and the pages of a run take besides its scans


def _sizes(nbytes: float) -> str:
    return f"{nbytes / 2**30:.1f} GiB" if nbytes >= 0.1 * 2**30 else f"{nbytes / 2**20:.0f} MiB"


def check_fits(plan: CohortPlan, memory: int, disk: int, gpu: int | None = None, done: Collection[str] = ()) -> None:
    """Refuse a plan that cannot fit.

    Args:
        plan: the plan.
        memory: bytes of memory for all workers together.
        disk: bytes free where the output lies.
        gpu: bytes of memory of the smallest GPU that works; None where none does.
        done: keys of scans that lie on the disk already.

    Raises:
        PlanError: naming the scan that needs most, what it needs, what there is, and the remedy.
    """
    if not plan.scans:
        return
    worst = max(plan.scans, key=lambda scan: scan.forecast.memory)
    if worst.forecast.memory > memory:
        wanted = f"at most {_sizes(memory)} of memory for a scan"
        got = f"{worst.key}, which needs {_sizes(worst.forecast.memory)} at {max(worst.target_grid.spacing):.3g} mm"
        raise PlanError(
            "memory-too-small", wanted, got, "choose a larger voxel size, leave the scan out, or use a larger machine"
        )
    largest = max(plan.scans, key=lambda scan: scan.forecast.tile)
    if gpu is not None and largest.forecast.tile > gpu:
        whole = bool(largest.steps)  # restored in steps, each of the whole scan
        wanted = f"at most {_sizes(gpu)}, which the smallest GPU has"
        got = f"{_sizes(largest.forecast.tile)} for {largest.key if whole else f'one tile of {largest.key}'}"
        remedy = "choose a larger voxel size" if whole else "choose smaller patches (--patch)"
        raise PlanError("gpu-too-small", wanted, got, f"{remedy}, or use a larger GPU")
    if left := [scan for scan in plan.scans if scan.key not in done]:
        remedy = "free space, choose another output, or restore fewer scans at a time"
        forecast = sum(scan.forecast.disk for scan in left) + RECORDS
        check_disk(forecast, disk, f"{len(left)} scans and the run's records", remedy)


def check_room(disk: int) -> None:
    """Refuse a disk on which not even the records of a run find room.

    Args:
        disk: bytes free where the databases of the services lie.

    Raises:
        PlanError: disk-too-small.
    """
    check_disk(RECORDS, disk, "the run's records, without its scans")


def check_disk(forecast: int, disk: int, what: str, remedy: str = "free space, or choose another output") -> None:
    """Refuse a disk with less room than what will be written takes.

    Args:
        forecast: bytes that will be written.
        disk: bytes free where they will lie.
        what: will be written.
        remedy: what to do.

    Raises:
        PlanError: disk-too-small.
    """
    if forecast > disk:
        got = f"a forecast of {_sizes(forecast)} for {what}"
        raise PlanError("disk-too-small", f"at most {_sizes(disk)} on disk", got, remedy)


def check_not_mixed(plan: CohortPlan, recorded: dict[str, str]) -> None:
    """Refuse to mix settings in one set of derivatives.

    Args:
        plan: the plan.
        recorded: settings digest by key, of the scans that the output already holds.

    Raises:
        PlanError: where scans made with other settings would stay beside the new ones.
    """
    planned = {scan.key for scan in plan.scans} | {refusal.key for refusal in plan.refused}
    left = sorted(key for key, how in recorded.items() if how != plan.settings_digest and key not in planned)
    if left:
        got = f"{counted(len(left), 'scan')} made with other settings, which this run would leave so ({listed(left, 3)})"
        remedy = "choose another output folder, run over all scans, or remove those of scans that are gone with isovox clean"
        raise PlanError("mixed-settings", "one method and one set of settings in an output folder", got, remedy)
