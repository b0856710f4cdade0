"""Harmonised scans in one space, and there without what is the sites', voxel by voxel (ComBat), as maps.

OUT/isovox/template.nii.gz                      mean of the reference's scans, registered to the first of them
OUT/maps/<site>/…_space-common_desc-harmonized_T1w.nii.gz    a scan on the template's grid, by an affine registration
OUT/maps/<site>/…_space-common_desc-combat_T1w.nii.gz        likewise, each voxel of the brain by ComBat
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from core.digest import digest_of
from core.errors import FeaturesError
from core.geometry.grid import Array, Grid
from core.harmonize.brain import brain
from core.harmonize.combat import Combat
from core.harmonize.common_space import brought, coarse
from core.harmonize.design import complete
from core.harmonize.table import Features
from core.io import derivatives, files, nifti
from core.settings.harmonize import HarmonizeSettings
from tasks.harmonize import tables, work
from tasks.harmonize.tables import Member
from tasks.harmonize.work import LABEL, Piece

AVERAGED = 8  # scans of the reference that the template is made of, at most
HELD = 1 << 24  # values that ComBat takes at once; of more it is fitted part by part
SPACE = "space-common_desc-"
COMBAT = "combat"
Tried = Callable[[str, Any, Sequence[Member]], dict[str, BaseException]]


def template_of(out: str) -> str:
    """Where the template lies."""
    return files.join(out, "isovox", "template.nii.gz")


def map_of(piece: Piece, desc: str = LABEL) -> str:
    """Where a map of a scan lies."""
    stem = work.image_of(_record(piece)).replace(f"desc-{LABEL}", f"{SPACE}{desc}")
    return files.join(piece.out, "maps", piece.site, f"{stem}.nii.gz")


def _record(piece: Piece) -> Any:
    return piece.harmonized.read_record(piece.key)


def _image(piece: Piece, voxel: float) -> tuple[Array, Grid]:
    image, grid, _ = nifti.load(piece.harmonized.path(f"{work.image_of(_record(piece))}.nii.gz"))
    return coarse(image, grid, voxel)


def make_template(settings: HarmonizeSettings, members: Sequence[Member]) -> None:
    """Write the mean of the reference's first scans, each registered to the first."""
    wanted = settings.reference_site
    chosen = [member.piece for member in members if wanted in {None, member.piece.site}][:AVERAGED]
    first, grid = _image(chosen[0], settings.map_voxel)
    others = [brought(*_image(piece, settings.map_voxel), first, grid) for piece in chosen[1:]]
    nifti.save(template_of(settings.out), np.mean([first, *others], axis=0, dtype=np.float32), grid)


def place(piece: Piece) -> float:
    """Bring a harmonised scan to the template's space and write it there, where that is not done; seconds it took.

    Raises:
        InputError: not-registered.
    """
    return work.timed(lambda: _place(piece))


def _place(piece: Piece) -> None:
    path = map_of(piece)
    said = path.replace(".nii.gz", ".json")
    template, grid, _ = nifti.load(template_of(piece.out))
    digest = digest_of([_record(piece).outputs, files.sha256(template_of(piece.out))])
    if files.exists(said) and files.exists(path) and files.read_json(said).get("Digest") == digest:
        return
    nifti.save(path, brought(*_image(piece, grid.spacing[0]), template, grid), grid)
    files.write_json(said, {"Digest": digest, "SpatialReference": "isovox/template.nii.gz", "Registration": "affine"})


def write_maps(settings: HarmonizeSettings, tried: Tried, members: Sequence[Member]) -> tuple[str, ...]:
    """Write the maps of all scans; what could not be done, and what else is to be known of them."""
    if not any(settings.reference_site in {None, member.piece.site} for member in members):
        return ("no maps: no scan of the reference came through",)
    make_template(settings, members)
    failed = tried("place", place, members)
    notes = [f"{name} has no map: {error}" for name, error in failed.items()]
    try:
        notes += _combat(settings, [member for member in members if member.piece.name not in failed])
    except FeaturesError as error:
        notes.append(f"maps are as they were registered: {error}")
    return tuple(notes)


def table_of(members: Sequence[Member], voxels: Sequence[tuple[int, int, int]]) -> Features:
    """The registered scans' values at some voxels as features, a scan each."""
    at = tuple(np.array(voxels).T)
    values = np.array([nifti.load(map_of(member.piece))[0][at] for member in members], np.float64)
    people = tables.after(members)
    names = tuple("voxel {} {} {}".format(*voxel) for voxel in voxels)
    return replace(people, names=names, values=values)


def _combat(settings: HarmonizeSettings, members: Sequence[Member]) -> list[str]:
    template, grid, _ = nifti.load(template_of(settings.out))
    places = [(x, y, z) for x, y, z in np.argwhere(brain(template, grid, stripped=True)).tolist()]
    step = max(2, HELD // len(members))
    notes: list[str] = []
    for start in range(0, len(places), step):
        voxels = places[start : start + step]
        table = table_of(members, voxels)
        fitted = fitted_on(settings, table)
        notes += [note for note in fitted.notes.values() if note not in notes]
        values = fitted.apply(table, missing="mean").values.astype(np.float32)
        at = tuple(np.array(voxels).T)
        for number, member in enumerate(members):
            image = np.array(nifti.load(map_of(member.piece, COMBAT if start else LABEL))[0])
            image[at] = values[number]
            nifti.save(map_of(member.piece, COMBAT), image, grid)
    for site in tables.sizes(members):
        derivatives.write_dataset_files(files.join(settings.out, "maps", site), files.join(settings.out, site), {})
    return notes


def fitted_on(settings: HarmonizeSettings, table: Features) -> Combat:
    """ComBat of a table of features or of voxels: the very same call."""
    preserve = [name for name in settings.preserve if any(value is not None for value in table.covariates.get(name, ()))]
    reference, options = settings.reference_site, settings.combat_options
    fitted = Combat.fit(complete(table, preserve), preserve, reference, **options)
    return fitted.extend(table, 1, missing="mean")
