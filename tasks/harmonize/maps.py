"""Harmonised scans in one space, and there without what is the sites', voxel by voxel (ComBat), as maps.

OUT/isovox/template.nii.gz                      mean of the reference's scans, registered to the first of them
OUT/maps/<site>/…_space-common_desc-harmonized_T1w.nii.gz    a scan on the template's grid, by an affine registration
OUT/maps/<site>/…_space-common_desc-combat_T1w.nii.gz        likewise, each voxel of the brain by ComBat

Template and ComBat are fitted on the cohort and kept in its model, or are the given model's. A map is written whole, and anew
only where something that it comes from has changed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from core.digest import digest_of
from core.errors import FeaturesError, InputError
from core.geometry.grid import Array, Grid
from core.harmonize.images.brain import brain
from core.harmonize.images.common_space import AVERAGED, brought, coarse, mean_of
from core.harmonize.tables.combat import Combat
from core.harmonize.tables.table import Features
from core.harmonize.voxelwise import Maps, Voxels, names_of
from core.io import derivatives, files, nifti
from core.settings.harmonize import HarmonizeSettings
from tasks.harmonize import tables, work
from tasks.harmonize.fits import fitted_on
from tasks.harmonize.tables import Member
from tasks.harmonize.work import LABEL, Piece

HELD = 1 << 24  # values that ComBat takes at once; of more it is fitted part by part
SPACE = "space-common_desc-"
COMBAT = "combat"
Tried = Callable[[str, Any, Sequence[Member]], dict[str, BaseException]]


@dataclass(frozen=True)
class Mapped:
    """What came of a cohort's maps.

    Attributes:
        notes: what could not be done, and what else is to be known.
        arrays: of the model by which they were made, as ``Maps.pack`` gives them; empty where there are no maps.
        about: what it says beside them.
    """

    notes: tuple[str, ...] = ()
    arrays: bytes = b""
    about: dict[str, Any] | None = None


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


def make_template(settings: HarmonizeSettings, members: Sequence[Member]) -> str:
    """Write the mean of the reference's first scans.

    Returns:
        why there is none; empty where it was written.
    """
    chosen = [member.piece for member in members if settings.reference_site in {None, member.piece.site}][:AVERAGED]
    if not chosen:
        return "no scan of the reference came through"
    try:
        template, grid = mean_of([_image(piece, settings.map_voxel) for piece in chosen])
    except InputError:
        return "the reference's first scans cannot be registered to one another"
    nifti.save(template_of(settings.out), template, grid)
    return ""


def place(piece: Piece) -> float:
    """Bring a harmonised scan to the template's space and write it there, where that is not done; seconds it took.

    Raises:
        InputError: not-registered.
    """
    return work.timed(lambda: _place(piece))


def _place(piece: Piece) -> None:
    digest = digest_of([_record(piece).outputs, files.sha256(template_of(piece.out))])
    if _done(piece, LABEL, digest):
        return
    template, grid, _ = nifti.load(template_of(piece.out))
    _write(piece, LABEL, brought(*_image(piece, grid.spacing[0]), template, grid), grid, digest)


def _sidecar_of(piece: Piece, desc: str) -> str:
    return map_of(piece, desc).replace(".nii.gz", ".json")


def _done(piece: Piece, desc: str, digest: str) -> bool:
    """Whether a map is there, made of the very same."""
    said = _sidecar_of(piece, desc)
    there = files.exists(said) and files.exists(map_of(piece, desc))
    return there and bool(files.read_json(said).get("Digest") == digest)


def _write(piece: Piece, desc: str, image: Array, grid: Grid, digest: str) -> None:
    """A map, then its sidecar: a map without is made anew."""
    said = {"Digest": digest, "SpatialReference": "isovox/template.nii.gz", "Registration": "affine"}
    files.remove(_sidecar_of(piece, desc))
    nifti.save(map_of(piece, desc), image, grid)
    files.write_json(_sidecar_of(piece, desc), said | ({"Harmonization": "ComBat"} if desc == COMBAT else {}))


# -- all of them ------------------------------------------------------------------------------------------------------------


def write_maps(settings: HarmonizeSettings, tried: Tried, members: Sequence[Member], given: Maps | None = None) -> Mapped:
    """Write the maps of all scans.

    Args:
        settings: of the harmonisation.
        tried: runs a stage for all scans, and tells which failed.
        members: harmonised scans.
        given: by what maps are made; fitted on these scans where None.
    """
    if given is not None:
        nifti.save(template_of(settings.out), given.template, given.grid)
    elif why := make_template(settings, members):
        _remove(members, LABEL, COMBAT)
        return Mapped((f"no maps: {why}",))
    failed = tried("place", place, members)
    notes = [f"{name} has no map: {error}" for name, error in failed.items()]
    _remove([member for member in members if member.piece.name in failed], LABEL, COMBAT)
    placed = [member for member in members if member.piece.name not in failed]
    maps, more = (given, []) if given is not None else _fit(settings, placed)
    arrays, about = maps.pack()
    notes += more + _take_sites_out(maps, about, placed)
    for site in tables.sizes(placed):
        derivatives.write_dataset_files(files.join(settings.out, "maps", site), files.join(settings.out, site), {})
    return Mapped(tuple(notes), arrays, about)


def table_of(members: Sequence[Member], voxels: Voxels) -> Features:
    """The registered scans' values at some voxels (v, 3) as features, a scan each."""
    at = tuple(voxels.T)
    values = np.array([nifti.load(map_of(member.piece))[0][at] for member in members], np.float64)
    return replace(tables.after(members), names=names_of(voxels), values=values)


# -- fit --------------------------------------------------------------------------------------------------------------------


def _fit(settings: HarmonizeSettings, members: Sequence[Member]) -> tuple[Maps, list[str]]:
    """ComBat of the voxels of the template's brain, part by part where they are many; and what to know of it."""
    template, grid, _ = nifti.load(template_of(settings.out))
    maps = Maps(template, grid, brain(template, grid, stripped=True))
    large = _too_large(maps)
    try:
        combat = fit_by_parts(maps.voxels, len(members), lambda part: fitted_on(settings, table_of(members, part)))
    except FeaturesError as error:
        return maps, [f"maps are as they were registered: {error}"]
    return replace(maps, combat=combat), [f"maps: {note}" for note in large + _notes(combat)]


def _too_large(maps: Maps) -> list[str]:
    """That voxels beyond the brain are among those that ComBat takes, where the template's can be no brain alone."""
    millilitres = len(maps.voxels) * math.prod(maps.grid.spacing) / 1000
    if millilitres <= work.BRAIN_ML[1]:
        return []
    return [f"ComBat takes {millilitres:.0f} ml, which is more than a brain: of heads that are not stripped, take --brain-only"]


def fit_by_parts(voxels: Voxels, scans: int, fit: Callable[[Voxels], Combat]) -> Combat:
    """ComBat of voxels (v, 3), fitted on so many at once as ``HELD`` values of all scans allow."""
    step = max(2, HELD // max(scans, 1))
    return Combat.joined([fit(voxels[start : start + step]) for start in range(0, len(voxels), step)])


def _notes(combat: Combat) -> list[str]:
    stay = [f"{len(combat.feature_flags)} of {len(combat.names)} voxels stay as they were"] if combat.feature_flags else []
    return stay + list(combat.notes.values())


# -- apply ------------------------------------------------------------------------------------------------------------------


def _take_sites_out(maps: Maps, about: dict[str, Any], members: Sequence[Member]) -> list[str]:
    """Write the maps by ComBat, a person's at a time: a scan's does not depend on whose are beside it. What was not done."""
    sites = () if maps.combat is None else maps.combat.sites
    notes = []
    for person in _by_person([member for member in members if member.piece.site in sites]):
        try:
            _write_person(maps, about, person)
        except FeaturesError as error:
            notes.append(f"{person[0].piece.name} has no map by ComBat: {error}")
            _remove(person, COMBAT)
    new = [member for member in members if member.piece.site not in sites]
    _remove(new, COMBAT)
    if new and sites:
        notes.append(f"not in the maps' fit, so without maps by ComBat: {', '.join(tables.sizes(new))}")
    return notes


def _remove(members: Sequence[Member], *descs: str) -> None:
    """Take away what an earlier run made of scans that have no such map now."""
    for piece, desc in ((member.piece, desc) for member in members for desc in descs):
        files.remove(_sidecar_of(piece, desc))
        files.remove(map_of(piece, desc))


def _by_person(members: Sequence[Member]) -> list[list[Member]]:
    persons: dict[str, list[Member]] = defaultdict(list)
    for member, person in zip(members, tables.after(members).persons, strict=True):
        persons[person].append(member)
    return list(persons.values())


def _write_person(maps: Maps, about: dict[str, Any], members: Sequence[Member]) -> None:
    digests = [files.read_json(_sidecar_of(member.piece, LABEL))["Digest"] for member in members]
    whose = [[member.person.age, member.person.sex] for member in members]
    todo = {
        number: digest
        for number, member in enumerate(members)
        if not _done(member.piece, COMBAT, digest := digest_of([number, digests, whose, about]))
    }
    if not todo or maps.combat is None:
        return
    voxels = maps.voxels
    values = maps.combat.apply(table_of(members, voxels), missing="mean").values.astype(np.float32)
    for number, digest in todo.items():
        image = np.array(nifti.load(map_of(members[number].piece))[0])
        image[tuple(voxels.T)] = values[number]
        _write(members[number].piece, COMBAT, image, maps.grid, digest)
