"""A trial's last steps: the scans by all steps of ours in one space, and there each voxel of the brain by ComBat.

OUT/isovox/template.nii.gz        mean of the reference scanner's first scans that are fitted on
OUT/isovox/placed/<person>.npz    a person's scans on its grid, by affine registration
OUT/isovox/maps.safetensors       template and ComBat, fitted on half of the persons

Registration takes the brains' size away, so that there is no effect of age on volumes, and no truth, to hold these rows against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from core.evaluation.rivals import site_of
from core.geometry.grid import Array, Grid
from core.harmonize.images.brain import brain
from core.harmonize.images.common_space import AVERAGED, brought, mean_of
from core.harmonize.tables.combat import Combat
from core.harmonize.tables.table import Features
from core.harmonize.voxelwise import FILE, Maps, Voxels, names_of
from core.io import files, nifti
from tasks.bounded import Dispatch, Piece, serially
from tasks.evaluate.harmonisation import PLACED, Images, Trial, features_in, harmonised, kept_images, load, made_once, stage_of
from tasks.events import Tell, nobody
from tasks.harmonize.maps import fit_by_parts

STAGES = 2  # how often each person is worked on: placed, and made by ComBat
IN_SPACE = "all of ours, in one space"
BY_COMBAT = f"{IN_SPACE}, ComBat of voxels"
MAPS = (IN_SPACE, BY_COMBAT)
Made = list[dict[str, Any]]


def run(trial: Trial, made: Made, tell: Tell = nobody, dispatch: Dispatch = serially) -> tuple[Trial, Made]:
    """The trial, and what came of each person with the rows of these steps, where it is scored.

    Args:
        trial: as fitted.
        made: what came of each person in its own stages.
        tell: is told of each person.
        dispatch: runs the work.

    Raises:
        InputError: not-registered.
        FeaturesError: voxels that cannot be fitted.
    """
    template, grid = mean_of([_first(trial, number) for number in _persons(trial, scored=False)[:AVERAGED]])
    nifti.save(_template(trial), template, grid)
    in_space = stage_of(trial, place_piece, tell, dispatch)
    content, about = _fit(trial, template, grid).pack()
    files.write_atomic(trial.path("isovox", FILE), content)
    by_combat = stage_of(replace(trial, models={"maps": about}), map_piece, tell, dispatch)
    own = zip(made, in_space, by_combat, strict=True)
    return trial, [{**first, "rows": [*first["rows"], *second["rows"], *third["rows"]]} for first, second, third in own]


def _template(trial: Trial) -> str:
    return trial.path("isovox", "template.nii.gz")


def _persons(trial: Trial, *, scored: bool) -> list[int]:
    return [number for number in range(len(trial.sources)) if trial.scored(number) == scored]


def _first(trial: Trial, number: int) -> tuple[Array, Grid]:
    """What the reference scanner shows of a person, by all steps of ours."""
    return harmonised(trial, number)[0], load(trial, number)[1]


def placed(trial: Trial, number: int) -> tuple[list[Array], Grid]:
    """A person's scans in the common space, a scanner each."""
    template, grid, _ = nifti.load(_template(trial))

    def make() -> Images:
        own = load(trial, number)[1]
        scans = enumerate(harmonised(trial, number))
        return {f"scan{scanner}": brought(image, own, template, grid) for scanner, image in scans}

    kept = kept_images(trial, PLACED, number, [trial.rivals], make)
    return [kept[f"scan{scanner}"] for scanner in range(trial.settings.scanners)], grid


def place_piece(piece: Piece) -> dict[str, Any]:
    """What a worker runs then: bring a person's scans to the common space."""
    return made_once(piece, "placed", _place)


def _place(trial: Trial, number: int) -> dict[str, Any]:
    scans, grid = placed(trial, number)
    return {"rows": _rows(IN_SPACE, scans, grid) if trial.scored(number) else []}


def _rows(name: str, scans: Sequence[Array], grid: Grid) -> list[list[Any]]:
    return [[scanner, name, {}, features_in(image, grid), False] for scanner, image in enumerate(scans)]


# -- ComBat of each voxel ---------------------------------------------------------------------------------------------------


def _fit(trial: Trial, template: Array, grid: Grid) -> Maps:
    maps, persons = Maps(template, grid, brain(template, grid, stripped=True)), _persons(trial, scored=False)

    def fit(voxels: Voxels) -> Combat:
        return Combat.fit(_table(trial, persons, voxels), ("age",), site_of(0))

    return replace(maps, combat=fit_by_parts(maps.voxels, len(persons) * trial.settings.scanners, fit))


def _table(trial: Trial, persons: Sequence[int], voxels: Voxels) -> Features:
    """The placed scans' values at some voxels (v, 3) as features, a scan each."""
    at, scanners = tuple(voxels.T), range(trial.settings.scanners)
    return Features(
        tuple(f"{site_of(scanner)}/sub-{trial.person(number)}" for number in persons for scanner in scanners),
        tuple(site_of(scanner) for _ in persons for scanner in scanners),
        {"age": tuple(trial.ages[number] for number in persons for _ in scanners)},
        names_of(voxels),
        np.array([image[at] for number in persons for image in placed(trial, number)[0]], np.float64),
        tuple(trial.person(number) for number in persons for _ in scanners),
    )


def map_piece(piece: Piece) -> dict[str, Any]:
    """What a worker runs last: a scored person's scans by ComBat of each voxel."""
    return made_once(piece, "mapped", _map)


def _map(trial: Trial, number: int) -> dict[str, Any]:
    if not trial.scored(number):
        return {"rows": []}
    maps = Maps.unpack(files.read_bytes(trial.path("isovox", FILE)), trial.models["maps"])
    combat, (scans, grid) = cast("Combat", maps.combat), placed(trial, number)
    values = combat.apply(_table(trial, [number], maps.voxels)).values.astype(np.float32)
    for image, own in zip(scans, values, strict=True):
        image[tuple(maps.voxels.T)] = own
    return {"rows": _rows(BY_COMBAT, scans, grid)}
