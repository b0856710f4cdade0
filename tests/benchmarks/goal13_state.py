"""Goal 13: what the states of a restoration that goes step by step cost, kept as often as the engine allows, is at most 1 %."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from core.engine.iterate import Checkpoint
from core.geometry.grid import Grid
from core.methods.base import Measured
from core.methods.iterative import State
from core.methods.registry import build_method
from core.operators.forward_model import SliceProfile
from core.stats import scan_stats
from tests.benchmarks.harness import Row, tell, within
from tests.core.engine.driving import drive
from tests.phantoms import brain

SHAPE, STEPS = (128, 128, 32), 300
SECONDS = 20.0  # between two states at least; users have minutes


class Timed(Checkpoint):
    """Counts the states that are kept, and the seconds that they take."""

    count, seconds, nbytes = 0, 0.0, 0

    def save(self, state: State) -> None:
        """Keep a state."""
        start = time.perf_counter()
        super().save(state)
        self.seconds += time.perf_counter() - start
        self.count += 1
        self.nbytes = sum(array.nbytes for array in state.arrays.values())


def rows() -> list[Row]:
    """Rounds of UniRes on a phantom in slices of 4 mm, with states on this machine's disk."""
    image, _ = brain(SHAPE, head=True)
    grid = Grid(SHAPE, np.diag([1.0, 1.0, 4.0, 1.0]))
    measured = Measured(image, grid, scan_stats(image), SliceProfile())
    method = build_method("unires", {"iterations": STEPS, "tolerance": 0.0})
    drive(build_method("unires", {"iterations": 1}), [measured], grid.isotropic(1.0))  # type: ignore[arg-type] - compiles
    with tempfile.TemporaryDirectory() as folder:
        kept = Timed(str(Path(folder, "state.safetensors")), "digest", SECONDS)
        start = time.perf_counter()
        drive(method, [measured], grid.isotropic(1.0), kept)  # type: ignore[arg-type]
        whole = time.perf_counter() - start
    if not kept.count:
        raise RuntimeError(f"no state was kept in {whole:.0f} s")
    what = f"{kept.count} states of {kept.nbytes / 1e6:.0f} MB in {whole:.0f} s, % of the time"
    return [within(13, what, 100 * kept.seconds / whole, 1.0)]


if __name__ == "__main__":
    tell(rows())
