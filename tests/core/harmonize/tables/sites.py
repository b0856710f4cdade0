"""Cohorts whose site effects and whose effects of age and sex are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from core.harmonize.tables.table import Features

SHIFTS = {"a": 0.0, "b": 3.0, "c": -2.0}
SCALES = {"a": 1.0, "b": 2.0, "c": 0.5}
AGE, SEX = 0.05, 0.8  # by year; of F over M


def cohort(
    counts: Mapping[str, int],
    *,
    features: int = 12,
    seed: int = 0,
    shifts: Mapping[str, float] = SHIFTS,
    scales: Mapping[str, float] = SCALES,
) -> Features:
    """Scans whose features are base + age + sex + site's shift + site's scale × noise; no feature as another."""
    draw = np.random.default_rng(seed)
    site = [name for name, count in counts.items() for _ in range(count)]
    n = len(site)
    age = draw.uniform(20, 80, n)
    sex = draw.choice(["F", "M"], n)
    base, spread = draw.uniform(10, 100, features), draw.uniform(0.5, 2, features)
    own = 1 + 0.3 * draw.standard_normal((len(counts), features))
    rows = np.array([list(counts).index(name) for name in site])
    shift = np.array([shifts.get(name, 1.0) for name in site])[:, None] * own[rows]
    scale = np.array([scales.get(name, 1.0) for name in site])[:, None]
    noise = draw.standard_normal((n, features))
    effects = AGE * (age - 50)[:, None] + SEX * (sex == "F")[:, None]
    values = base + spread * (effects + shift + scale * noise)
    return Features(
        tuple(f"sub-{row:03d}_T1w" for row in range(n)),
        tuple(site),
        {"age": tuple(age.tolist()), "sex": tuple(sex.tolist())},
        tuple(f"feature {n}" for n in range(features)),
        values,
    )


def table(values: Sequence[Sequence[float]], site: Sequence[str], **covariates: Sequence[float | str | None]) -> Features:
    """A table from rows of values."""
    names = tuple(f"f{n}" for n in range(len(values[0])))
    known = {name: tuple(column) for name, column in covariates.items()}
    return Features(tuple(f"sub-{n:02d}" for n in range(len(site))), tuple(site), known, names, np.array(values))
