"""All goals in one table: ``python -m tests.benchmarks``, or some by their numbers: ``python -m tests.benchmarks 1 5``.

The rows are also written to ``bench-out/benchmarks.json``. Exit code 1 where an aim is missed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


def modules(goals: list[str]) -> list[Path]:
    """The modules of the goals that are asked for; all where none is."""
    return [path for path in sorted(HERE.glob("goal*.py")) if not goals or path.stem[4 : path.stem.index("_")] in goals]


def measured(path: Path) -> list[dict[str, Any]]:
    """The rows of one module, run in a process of its own; one row that says so where it fails."""
    command = [sys.executable, "-m", f"tests.benchmarks.{path.stem}"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | ONE_THREAD, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return list(json.loads(done.stdout))
    return [{"goal": path.stem, "what": f"failed: {done.stderr.strip().splitlines()[-1]}", "met": False}]


def shown(value: Any) -> str:
    """A cell of the table."""
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def table(rows: list[dict[str, Any]]) -> Table:
    """The rows for a reader."""
    made = Table("goal", "what", "ours", "peer", "ratio", "aim", "met")
    for row in rows:
        met = {True: "yes", False: "[red]NO[/red]", None: ""}[row["met"]]
        made.add_row(*(shown(row.get(name)) for name in ("goal", "what", "ours", "peer", "ratio", "aim")), met)
    return made


def main() -> int:
    """Measure, print, write."""
    console = Console()
    chosen = modules(sys.argv[1:])
    rows = [row for path in track(chosen, "measuring", console=Console(stderr=True)) for row in measured(path)]
    console.print(table(rows))
    out = ROOT / "bench-out" / "benchmarks.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(rows, indent=2))
    console.print(f"written to {out.relative_to(ROOT)}")
    return 1 if any(row["met"] is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
