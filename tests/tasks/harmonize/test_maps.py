"""Maps in one space: the table's ComBat and the images' are one to the bit, the reference stays, a model gives the same bytes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.errors import InputError
from core.geometry.grid import Grid
from core.harmonize import model
from core.harmonize.images.brain import brain as mask_of
from core.harmonize.images.common_space import brought
from core.harmonize.tables.combat import Combat
from core.io import nifti
from core.settings.harmonize import HarmonizeSettings
from tasks.harmonize import work
from tasks.harmonize.maps import COMBAT, map_of, table_of, template_of, write_maps
from tests.phantoms import brain
from tests.tasks.harmonize.test_work import EXTENT, cohort, harmonized, here  # noqa: F401 - a fixture


def tried(name, function, members):
    return work.run(here, function, [member.piece for member in members], 1)


@pytest.mark.slow
def test_table_and_images_are_one_to_the_bit_and_the_reference_is_untouched(cohort, tmp_path):  # noqa: F811
    members = harmonized(cohort[:3] + cohort[4:7])
    out, sites = str(tmp_path), (f"oslo={tmp_path}/a", f"bonn={tmp_path}/b")
    settings = HarmonizeSettings(sites=sites, out=out, reference_site="oslo", map_voxel=8.0, preserve=("age",), bayes=False)
    made = write_maps(settings, tried, members)
    assert not [note for note in made.notes if "no map" in note or "as they were registered" in note]
    template, grid, _ = nifti.load(template_of(out))
    voxels = np.argwhere(mask_of(template, grid, stripped=True))
    table = table_of(members, voxels)
    expected = Combat.fit(table, ("age",), "oslo", bayes=False).apply(table).values.astype(np.float32)
    at = tuple(voxels.T)
    for number, member in enumerate(members):
        registered, adjusted = (Path(map_of(member.piece, desc)) for desc in (work.LABEL, COMBAT))
        assert np.array_equal(nifti.load(str(adjusted))[0][at], expected[number])
        assert (adjusted.read_bytes() == registered.read_bytes()) == (member.piece.site == "oslo")
    paths = [Path(map_of(member.piece, desc)) for member in members for desc in (work.LABEL, COMBAT)]
    times = [path.stat().st_mtime_ns for path in paths]
    again = write_maps(settings, tried, members)
    assert (again.arrays, again.about) == (made.arrays, made.about)
    assert [path.stat().st_mtime_ns for path in paths] == times  # what is done is skipped
    # next month, elsewhere, by the model: one scan alone, and one of a site that the model has not seen
    said = {"contrast": "T1w", "method": "cubic", "voxel_size": 4.0, "field_of_view": EXTENT}
    model.save(str(tmp_path / "model"), model.Harmonizer(maps=made.about, **said), "card", made.arrays)
    later = str(tmp_path / "later")
    shutil.copytree(tmp_path / "harmonized" / "bonn", tmp_path / "later" / "harmonized" / "bonn")
    shutil.copytree(tmp_path / "harmonized" / "bonn", tmp_path / "later" / "harmonized" / "york")
    shutil.copytree(tmp_path / "bonn", tmp_path / "later" / "bonn")
    shutil.copytree(tmp_path / "bonn", tmp_path / "later" / "york")
    alone = [replace(members[4], piece=replace(members[4].piece, out=later, site=site)) for site in ("bonn", "york")]
    given = model.read_maps(str(tmp_path / "model"), model.read(str(tmp_path / "model")))
    told = write_maps(settings.model_copy(update={"out": later}), tried, alone, given)
    assert told.notes == ("not in the maps' fit, so without maps by ComBat: york",)
    for desc in (work.LABEL, COMBAT):
        before, after = (Path(map_of(member.piece, desc)).read_bytes() for member in (members[4], alone[0]))
        assert before == after
    assert Path(map_of(alone[1].piece)).exists()
    assert not Path(map_of(alone[1].piece, COMBAT)).exists()


@pytest.mark.parametrize("odd", [0, 2])
def test_a_scan_of_the_reference_that_is_like_no_other_has_no_map_and_the_others_have(odd, cohort, tmp_path):  # noqa: F811
    members = harmonized(cohort[:3] + cohort[4:7])
    piece = members[odd].piece
    path = piece.harmonized.path(f"{work.image_of(piece.harmonized.read_record(piece.key))}.nii.gz")
    image, grid, _ = nifti.load(path)
    nifti.save(path, np.where(image > 0, image.max() + 1 - image, np.float32(200)), grid)  # dark where others are bright
    settings = HarmonizeSettings(sites=("a", "b"), out=str(tmp_path), reference_site="oslo", map_voxel=8.0, preserve=())
    made = write_maps(settings, tried, members)
    assert [note.partition(":")[0] for note in made.notes if "no map" in note] == [f"{piece.name} has no map"]
    assert [Path(map_of(member.piece, COMBAT)).exists() for member in members] == [number != odd for number in range(6)]


def test_voxels_beyond_the_brain_are_told(cohort, tmp_path):  # noqa: F811
    members = harmonized(cohort[:2] + cohort[4:6])
    settings = HarmonizeSettings(sites=("a", "b"), out=str(tmp_path), map_voxel=8.0, preserve=())
    assert not [note for note in write_maps(settings, tried, members).notes if "more than a brain" in note]
    for member in members:  # as large as a head
        path = member.piece.harmonized.path(f"{work.image_of(member.piece.harmonized.read_record(member.piece.key))}.nii.gz")
        image, grid, _ = nifti.load(path)
        nifti.save(path, image, Grid(grid.shape, grid.affine @ np.diag([1.5, 1.5, 1.5, 1.0])))
    shutil.rmtree(tmp_path / "maps")
    notes = write_maps(settings, tried, members).notes
    assert [note for note in notes if "which is more than a brain: of heads that are not stripped, take --brain-only" in note]


def test_a_moved_brain_is_brought_back_and_another_thing_is_refused():
    image = brain((36, 36, 36), noise=1.0)[0]
    grid = Grid(image.shape, np.diag([4.0, 4.0, 4.0, 1.0]))
    turn, move = np.deg2rad(8), np.eye(4)
    move[:2, :2], move[:3, 3] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]], (6, -4, 9)
    moved = Grid(image.shape, move @ np.diag([4.4, 4.0, 3.8, 1.0]))
    back = brought(image, moved, image, grid)
    mask = image > 0
    assert np.corrcoef(back[mask], image[mask])[0, 1] > 0.75
    assert np.array_equal(brought(image, moved, image, grid), back)
    noise = np.random.default_rng(0).normal(50, 20, image.shape).astype(np.float32)
    with pytest.raises(InputError, match="not-registered"):
        brought(noise, grid, image, grid)
