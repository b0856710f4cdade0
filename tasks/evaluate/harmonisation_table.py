"""The table of a trial of harmonisation: a row a rival, by the features and figures of the persons that none was fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from core.evaluation.agreement import icc, identified, slope_of
from core.evaluation.rivals import NAMES, site_of
from core.harmonize.tables.combat import Combat
from core.harmonize.tables.sites import Classifier, site_accuracy
from core.harmonize.tables.table import Features, Values
from core.io import files
from tasks.evaluate.harmonisation import FITTED, Trial
from tasks.evaluate.harmonisation_maps import MAPS

VOLUMES = ("csf_ml", "gm_ml", "wm_ml", "brain_ml")
COMBAT = " + ComBat on features"
DEALS = 10  # of the persons to the folds of a classifier
COLUMNS = {
    "refused": "scans refused",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "icc_volumes": "ICC volumes (least)",
    "icc_noise": "ICC noise",
    "icc_sharpness": "ICC sharpness",
    "identified": "identified",
    "site": "site told",
    "site_null": "by chance",
    "site_p": "p",
    "forest": "by a forest",
    "age": "age effect, %/year",
    "age_bias": "its bias",
}
Row = dict[str, Any]


def write(trial: Trial, made: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The tables of a trial, and its rows."""
    rows = []
    for name in NAMES:
        features = features_of(trial, made, name, scored=True)
        features.to_tsv(trial.path("features", f"{_plain(name)}.tsv"))
        rows.append({"rival": name} | _figures(made, name) | scores(trial, features) | age_in(trial, made, features))
        if name in FITTED:
            fitted = features_of(trial, made, name, scored=False)
            fitted.to_tsv(trial.path("features", f"{_plain(name)}_fit.tsv"))
            combat = Combat.fit(fitted, ("age",), site_of(0)).apply(features)
            combat.to_tsv(trial.path("features", f"{_plain(name)}_combat.tsv"))
            rows.append({"rival": name + COMBAT} | scores(trial, combat) | age_in(trial, made, combat))
    for name in MAPS:
        features = features_of(trial, made, name, scored=True)
        features.to_tsv(trial.path("features", f"{_plain(name)}.tsv"))
        rows.append({"rival": name} | scores(trial, features))
    lines = [["rival", *COLUMNS], *([row["rival"], *(text(row, column) for column in COLUMNS)] for row in rows)]
    files.write_atomic(trial.path("summary.tsv"), "".join("\t".join(line) + "\n" for line in lines).encode())
    files.write_json(
        trial.path("summary.json"), {"Rows": rows, "Columns": COLUMNS, "Settings": trial.settings.model_dump(mode="json")}
    )
    return rows


def _plain(name: str) -> str:
    return name.replace(", ", "_").replace(" ", "_")


def features_of(trial: Trial, made: Sequence[Mapping[str, Any]], rival: str, *, scored: bool) -> Features:
    """Features of a rival's scans of half of the persons, whose names are the same at every scanner."""
    persons = [number for number in range(len(made)) if trial.scored(number) == scored]
    rows = [(number, row) for number in persons for row in made[number]["rows"] if row[1] == rival]
    names = tuple(rows[0][1][3])
    return Features(
        tuple(f"{site_of(row[0])}/sub-{trial.person(number)}" for number, row in rows),
        tuple(site_of(row[0]) for _, row in rows),
        {"age": tuple(trial.ages[number] for number, _ in rows)},
        names,
        np.array([[row[3][name] for name in names] for _, row in rows]),
        tuple(trial.person(number) for number, _ in rows),
    )


def _figures(made: Sequence[Mapping[str, Any]], rival: str) -> Row:
    """Means over the scans of all scanners but the reference, but for those that the rival refuses; and how many it refuses.

    A refused scan is left as it is, and so counts in all else.
    """
    rows = [row for trial in made for row in trial["rows"] if row[1] == rival and row[2]]
    refused = sum(row[4] for row in rows)
    scored = [row[2] for row in rows if row[0] > 0 and not row[4]]
    means = {name: float(np.mean([figures[name] for figures in scored])) for name in ("psnr", "ssim") if scored}
    return means | {"refused": f"{refused} of {len(rows)}"}


def cube(trial: Trial, features: Features) -> Values:
    """The table as (persons, scanners, features)."""
    return features.values.reshape(-1, trial.settings.scanners, len(features.names))


def by_feature(trial: Trial, features: Features) -> dict[str, Values]:
    """Each feature as (persons, scanners)."""
    values = cube(trial, features)
    return {name: values[:, :, column] for column, name in enumerate(features.names)}


def scores(trial: Trial, features: Features) -> Row:
    """What the features of the scored persons say: agreement, identification, site."""
    by_name = by_feature(trial, features)
    volumes = {name: icc(by_name[name]) for name in VOLUMES}
    accuracy = site_accuracy(features, permutations=99, seed=trial.settings.seed)
    return {
        "icc_volumes": min(volumes.values()),
        "icc": volumes,
        "icc_noise": icc(by_name["noise"]),
        "icc_sharpness": icc(by_name["sharpness"]),
        "identified": identified(cube(trial, features)),
        "site": _told(trial, features, "linear"),
        "site_null": list(accuracy.null),
        "site_p": accuracy.p,
        "forest": _told(trial, features, "forest"),
    }


def _told(trial: Trial, features: Features, classifier: Classifier) -> float:
    """Balanced accuracy, the mean over several deals of the persons to folds: by one alone it varies by a tenth and more."""
    seeds = range(trial.settings.seed, trial.settings.seed + DEALS)
    return float(np.mean([site_accuracy(features, permutations=1, classifier=classifier, seed=n).balanced for n in seeds]))


def age_in(trial: Trial, made: Sequence[Mapping[str, Any]], features: Features) -> Row:
    """The planted effect on grey and white matter, each person seen by one scanner: as found, and what is wrong with it."""
    by_name = by_feature(trial, features)
    scored = [number for number in range(len(made)) if trial.scored(number)]
    ages = np.array([trial.ages[number] for number in scored])
    at = np.arange(len(scored)) % trial.settings.scanners
    seen = 100 * np.log((by_name["gm_ml"] + by_name["wm_ml"])[np.arange(len(scored)), at])
    truth = 100 * np.log([made[number]["truth"]["gm_ml"] + made[number]["truth"]["wm_ml"] for number in scored])
    seen_slope, planted, bias = slope_of(ages, seen), slope_of(ages, truth), slope_of(ages, seen - truth)
    return {
        "age": [seen_slope.slope, seen_slope.low, seen_slope.high],
        "age_truth": [planted.slope, planted.low, planted.high],
        "age_bias": [bias.slope, bias.low, bias.high],
    }


def text(row: Row, column: str) -> str:
    """A cell."""
    value = row.get(column)
    if value is None:
        return "n/a"
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        head = f"{value[0]:.2f} " if len(value) == 3 else ""
        return f"{head}[{value[-2]:.2f}, {value[-1]:.2f}]"
    return f"{value:.2f}" if column == "psnr" else f"{value:.3f}"
