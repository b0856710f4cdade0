"""How much of the code's meaning the tests hold: ``python -m tests.mutations`` changes it at 300 places, one at a time.

For each change the fast tests of the folder that mirrors the module's run, its own file first, until one fails. Cosmic Ray makes
the changes; they are drawn by a seed. Exit code 1 where fewer than 90 % of them fail a test. ``--again LOG`` tries only those
that the log of an earlier run tells of as survived.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.testing import run_tests
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkResult

from tests.mutations.again import Survivor, survivors_of
from tests.mutations.draw import drawn
from tests.mutations.tree import ROOT, copy_tree

FOLDERS = ("core/geometry", "core/engine", "core/diffusion", "core/operators")
AIM = 0.9
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
LONGEST = 600.0  # seconds that a folder's tests may take unchanged
Change = TypeVar("Change")
Done = TypeVar("Done")
SLACK = 30.0  # seconds beside three times as long as unchanged, after which a change counts as told


@dataclass(frozen=True)
class Trial:
    """A change and what became of it; ``result`` is None where the time was over before its turn."""

    mutation: MutationSpec
    result: WorkResult | None

    @property
    def survived(self) -> bool:
        """Whether all tests passed."""
        return self.result is not None and self.result.test_outcome == TestOutcome.SURVIVED

    def tell(self) -> str:
        """The place and, of the text, what was taken and what was put."""
        lines = (self.result.diff or "").splitlines() if self.result else []
        changed = [line for line in lines if line[:1] in {"+", "-"} and line[:3] not in {"+++", "---"}]
        return "\n".join([f"{self.mutation.module_path}:{self.mutation.start_pos[0]}", *changed])


@dataclass(frozen=True)
class Retrial:
    """A change that survived before; ``outcome`` is None where it was not tried: its lines are gone, or the time was over."""

    survivor: Survivor
    outcome: TestOutcome | None
    gone: bool = False

    @property
    def survived(self) -> bool:
        """Whether all tests passed."""
        return self.outcome == TestOutcome.SURVIVED


def tests_of(module: Path) -> list[str]:
    """The tests of a module: the file of its name first, where there is one, then its whole folder."""
    folder = Path("tests") / module.parent
    own = folder / f"test_{module.stem}.py"
    return [str(path) for path in (own, folder) if (ROOT / path).exists()]


def command(tests: Sequence[str]) -> str:
    """What runs some tests until one fails, drawing alike each time."""
    return shlex.join([sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--hypothesis-seed=0", *tests])


def settle(parent: str) -> None:
    """Give a process a copy of the project to work in."""
    os.chdir(copy_tree(Path(tempfile.mkdtemp(dir=parent))))
    os.environ.update(ONE_THREAD | {"PYTHONPATH": str(Path.cwd())})


def unchanged(folder: str) -> float:
    """Seconds that a folder's tests take where nothing is changed.

    Raises:
        RuntimeError: they do not pass.
    """
    started = time.monotonic()
    outcome, output = run_tests(command([f"tests/{folder}"]), LONGEST)
    if outcome != TestOutcome.SURVIVED:
        raise RuntimeError(f"wanted tests/{folder} to pass unchanged; got {output[-2000:]}; mend them first")
    return time.monotonic() - started


def attempt(mutation: MutationSpec, seconds: float, end: float) -> Trial:
    """Make a change, run its tests, undo it.

    Args:
        mutation: the change.
        seconds: after which its tests are ended, and the change counts as told.
        end: when (``time.time``) no more are begun.

    Raises:
        RuntimeError: the change could not be made or its tests not be started.
    """
    if time.time() > end:
        return Trial(mutation, None)
    result = mutate_and_test([mutation], command(tests_of(mutation.module_path)), seconds)
    if result.worker_outcome != WorkerOutcome.NORMAL or result.test_outcome == TestOutcome.INCOMPETENT:
        raise RuntimeError(f"wanted a change at {mutation.module_path}:{mutation.start_pos}; got {result.output}; run it alone")
    return Trial(mutation, result)


def attempt_again(survivor: Survivor, seconds: float, end: float) -> Retrial:
    """As ``attempt``, for a change that survived before."""
    source = survivor.module.read_text()
    changed = survivor.applied(source)
    if changed is None or time.time() > end:
        return Retrial(survivor, None, gone=changed is None)
    survivor.module.write_text(changed)
    try:
        outcome, _ = run_tests(command(tests_of(survivor.module)), seconds)
    finally:
        survivor.module.write_text(source)
    return Retrial(survivor, outcome)


def trials(
    attempted: Callable[[Change, float, float], Done], chosen: Sequence[tuple[Change, Path]], jobs: int, minutes: float
) -> Iterator[Done]:
    """All changes, in ``jobs`` processes, as they are done.

    Args:
        attempted: makes one, with its seconds and the end.
        chosen: the changes, each with its module.
        jobs: processes.
        minutes: after which no more are begun.
    """
    end = time.time() + 60 * minutes
    with (
        tempfile.TemporaryDirectory(prefix="mutations-") as parent,
        ProcessPoolExecutor(jobs, initializer=settle, initargs=(parent,)) as pool,
    ):
        folders = sorted({str(module.parent) for _, module in chosen})
        longest = {folder: 3 * seconds + SLACK for folder, seconds in zip(folders, pool.map(unchanged, folders), strict=True)}
        begun = [pool.submit(attempted, change, longest[str(module.parent)], end) for change, module in chosen]
        for done in as_completed(begun):
            yield done.result()


def report(done: Sequence[Trial]) -> int:
    """Print the share of changes that failed a test, and those that did not; the exit code."""
    tried = [one for one in done if one.result is not None]
    survivors = sorted((one for one in tried if one.survived), key=lambda one: one.tell())
    late = sum(one.result is not None and one.result.output == "timeout" for one in tried)
    share = 1 - len(survivors) / max(1, len(tried))
    sys.stdout.write("\n".join([*(f"\nsurvived: {one.tell()}" for one in survivors), ""]))
    sys.stdout.write(f"\n{len(tried)} of {len(done)} changes tried, {share:.1%} failed a test ({late} by taking too long)\n")
    return 0 if share >= AIM else 1


def report_again(done: Sequence[Retrial]) -> int:
    """Print which changes survived once more, and how many could not be tried; the exit code."""
    lives = sorted(trial.survivor.tell() for trial in done if trial.survived)
    gone = sorted(trial.survivor.tell() for trial in done if trial.gone)
    tried = sum(trial.outcome is not None for trial in done)
    sys.stdout.write("\n".join([*(f"\nsurvived: {text}" for text in lives), *(f"\ngone: {text}" for text in gone), ""]))
    sys.stdout.write(f"\n{len(done)} survivors: {tried} tried again, {len(lives)} survived, {len(gone)} gone from the code\n")
    return 1 if lives else 0


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser("python -m tests.mutations", description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="places that are changed (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=60, help="after which no more are begun (default: %(default)s)")
    parser.add_argument("--only", nargs="+", default=FOLDERS, metavar="FOLDER", help="of " + ", ".join(FOLDERS))
    parser.add_argument("--again", type=Path, metavar="LOG", help="try only what survived in the run of this log")
    options = parser.parse_args()
    if options.again:
        survivors = survivors_of(options.again.read_text())
        os.chdir(ROOT)
        again = trials(attempt_again, [(survivor, survivor.module) for survivor in survivors], options.jobs, options.minutes)
        return report_again(list(again))
    os.chdir(ROOT)
    modules = [path for folder in options.only for path in sorted(Path(folder).rglob("*.py")) if path.name != "__init__.py"]
    done: list[Trial] = []
    chosen = [(one, one.module_path) for one in drawn(modules, options.count, options.seed)]
    for one in trials(attempt, chosen, options.jobs, options.minutes):
        done.append(one)
        sys.stdout.write(f"\r{len(done)} of {options.count}, {sum(each.survived for each in done)} survived")
        sys.stdout.flush()
    return report(done)


if __name__ == "__main__":
    sys.exit(main())
