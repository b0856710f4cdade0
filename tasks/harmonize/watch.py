"""New scans' features held against a reference's: the tables, and what came of it line by line."""

from __future__ import annotations

from typing import Any

from core.errors import FeaturesError, UsageError
from core.harmonize.tables.drift import Drift, drift, summary, untold
from core.harmonize.tables.table import Features
from core.io import files
from core.io.claim import check_place
from core.settings.harmonize import MonitorSettings

TABLE = "features.tsv"
WRITTEN = "drift.tsv"
COLUMNS = (
    "feature",
    "verdict",
    "site",
    "psi",
    "ks",
    "p_holm",
    "median_reference",
    "median_new",
    "n_reference",
    "n_new",
    "reason",
)
NAMES = {"ok": "Completed", "unknown": "Unknown", "watch": "Watch", "drift": "Drift"}


def read_features(uri: str) -> Features:
    """The table of a cohort: a TSV, or the output of ``isovox harmonize``.

    Raises:
        UsageError: there is none, or it cannot be read as one.
    """
    there = uri if uri.endswith(".tsv") else files.join(uri, TABLE)
    try:
        return Features.from_tsv(there)
    except (FileNotFoundError, NotADirectoryError) as error:
        remedy = "name a features.tsv, or the output folder of isovox harmonize"
        raise UsageError("features-missing", f"a table of features at {there}", "none", remedy) from error
    except FeaturesError as error:
        raise UsageError(error.code, error.wanted, error.got, error.remedy) from error


def compare(settings: MonitorSettings) -> list[Drift]:
    """Each feature that both cohorts have, or those that are asked for, at the site where it differs most.

    Raises:
        UsageError: a table that is not there, or a feature that one of them has not.
    """
    new, reference = read_features(settings.new), read_features(settings.reference)
    common = [name for name in reference.names if name in new.names]
    wanted = settings.features or tuple(common)
    if not common or (missing := [name for name in wanted if name not in common]):
        got = ", ".join(missing if common else ("none in common",))
        raise UsageError("feature-missing", "features that both cohorts have", got, "measure both by the same version")
    return drift(reference.only(wanted), new.only(wanted))


def check(settings: MonitorSettings) -> None:
    """Refuse, before anything is started, tables that cannot be compared and an output that cannot be written.

    Raises:
        UsageError: as ``compare`` and ``check_table``.
    """
    if settings.out:
        check_table(settings.out)
    compare(settings)


def said(settings: MonitorSettings, drifts: list[Drift]) -> str:
    """What came of it in a line, with the sites of which nothing can be told."""
    left = untold(read_features(settings.reference), read_features(settings.new))
    return summary(drifts) + (f"; nothing is told of sites {left}" if left else "")


def rows(drifts: list[Drift]) -> list[dict[str, Any]]:
    """A line a feature, what drifts first."""
    order = list(reversed(NAMES))
    ordered = sorted(drifts, key=lambda drift: order.index(drift.verdict))
    return [{name: _short(drift.to_json()[name]) for name in COLUMNS} for drift in ordered]


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def check_table(out: str) -> None:
    """Refuse a folder that can be none, or that holds a drift.tsv of somebody else's.

    Args:
        out: folder or s3:// prefix.

    Raises:
        UsageError: as ``check_place``, and out-taken.
    """
    check_place(out)
    try:
        first = files.read_bytes(files.join(out, WRITTEN)).partition(b"\n")[0]
    except FileNotFoundError:
        return
    if not first.startswith("\t".join((*COLUMNS[:2], "")).encode()):
        wanted, remedy = f"a folder without a {WRITTEN} of others", "name another folder for the output"
        raise UsageError("out-taken", wanted, f"one in {out}, which isovox did not write", remedy)


def write_table(uri: str, lines: list[dict[str, Any]]) -> None:
    """The lines as a TSV."""
    cells = [["n/a" if line[name] in {None, ""} else str(line[name]) for name in COLUMNS] for line in lines]
    files.write_atomic(uri, ("\n".join("\t".join(row) for row in [list(COLUMNS), *cells]) + "\n").encode())
