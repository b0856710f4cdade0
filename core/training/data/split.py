"""Which persons a training sees: to learn from, to validate with, and not at all."""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import UsageError, listed


def split_subjects(
    names: Sequence[str], validation: Sequence[str], test: Sequence[str], failed: Sequence[str] = ()
) -> dict[str, list[str]]:
    """Persons to train on, to validate with and to leave alone.

    Args:
        names: of all persons.
        validation: of those to validate with; every eighth, at least one, where empty.
        test: of those never to be seen.
        failed: scans that could not be taken, which tell why a person is not among them.

    Returns:
        names under "train", "validation" and "test", each sorted.

    Raises:
        UsageError: a person in two parts or unknown, or a part left empty.
    """
    everyone = sorted(set(names))
    if both := sorted(set(validation) & set(test)):
        raise UsageError("split-overlap", "each person in one part", f"{listed(both)} in two", "take them out of one")
    if missing := sorted((set(validation) | set(test)) - set(everyone)):
        lost = f", and scans that could not be taken: {listed(failed)}" if failed else ""
        wanted, remedy = f"labels without sub- of persons of the cohort: {listed(everyone)}", "correct the labels"
        raise UsageError("split-unknown", wanted, listed(missing) + lost, f"{remedy}{', or mend the scans' if failed else ''}")
    free = [name for name in everyone if name not in set(test)]
    held = sorted(set(validation)) or free[7::8] or free[-1:]
    train = [name for name in free if name not in set(held)]
    if not train:
        got = f"{listed(free)} to do both" if free else "none that is not kept for testing"
        remedy = "add scans of other persons, each in a folder of its own or named sub-<label>_…; or take fewer for testing"
        raise UsageError("split-empty", "at least one person to train on and one to validate with", got, remedy)
    return {"train": train, "validation": held, "test": sorted(set(test))}
