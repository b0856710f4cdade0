"""Maps as a model: read as written to the bit, refused where others, and a scan's numbers are its own whoever is beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.errors import WeightsError
from core.geometry.grid import Grid
from core.harmonize import model
from core.harmonize.tables.combat import Combat
from core.harmonize.tables.table import Features
from core.harmonize.voxelwise import FILE, Maps, names_of

SHAPE = (4, 3, 5)
SAID = {"contrast": "T1w", "method": "cubic", "voxel_size": 1.0, "field_of_view": (192.0, 224.0, 192.0)}
OPTIONS = [{}, {"spread": True, "smooth": True}, {"intercept": True, "bayes": False}]


def mask() -> np.ndarray:
    made = np.ones(SHAPE, bool)
    made[0] = made[1, 2, 3] = False
    return made


def table(scans: int = 24, *, seed: int = 0) -> Features:
    draw, voxels = np.random.default_rng(seed), np.argwhere(mask())
    age, sex = draw.uniform(20, 80, scans), draw.integers(0, 2, scans)
    site = np.arange(scans) % 2
    values = 100 + 0.1 * age[:, None] + 3 * sex[:, None] + 5 * site[:, None] + draw.normal(0, 2, (scans, len(voxels)))
    values[:, 7] = 0.0  # where no scan was
    names = tuple(f"sub-{number // 2:02d}_run-{number % 2}_T1w" for number in range(scans))
    covariates = {"age": tuple(age.tolist()), "sex": tuple("MF"[which] for which in sex)}
    people = tuple(f"person {number // 2}" for number in range(scans))
    return Features(names, tuple(("oslo", "bonn")[which] for which in site), covariates, names_of(voxels), values, people)


def maps(combat: Combat | None) -> Maps:
    template = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    return Maps(template, Grid(SHAPE, np.array([[4, 0, 0, -7.3], [0, 4, 0, 2], [0, 0, 4, 1], [0, 0, 0, 1.0]])), mask(), combat)


@pytest.mark.parametrize("options", OPTIONS)
def test_maps_are_read_as_written_and_give_the_same_bits(options):
    features = table()
    fitted = Combat.fit(features, ("age", "sex"), "oslo", **options)
    made = maps(fitted)
    content, about = made.pack()
    assert made.pack() == (content, about)
    found = Maps.unpack(content, about)
    assert found.pack() == (content, about)
    assert np.array_equal(found.template, made.template)
    assert np.array_equal(found.mask, made.mask)
    assert np.array_equal(found.grid.affine, made.grid.affine)
    expected = fitted.apply(features).values
    assert np.array_equal(found.combat.apply(features).values, expected)
    persons = features.persons
    for person in dict.fromkeys(persons):  # alone, as next month
        rows = [row for row, other in enumerate(persons) if other == person]
        assert np.array_equal(found.combat.apply(features.select(rows)).values, expected[rows])


@pytest.mark.parametrize("options", [{"bayes": False, "spread": True}, {"reference_site": "oslo"}, {"intercept": True}])
@pytest.mark.parametrize("step", [2, 7, 20])
def test_parts_fitted_apart_are_the_model_that_is_fitted_at_once(step: int, options: dict):
    """The last part may have a single voxel, another none that varies: priors are of all voxels."""
    features = table()
    starts = range(0, len(features.names), step)
    parts = [Combat.fit(features.only(features.names[start : start + step]), **options) for start in starts]
    whole = Combat.fit(features, **options)
    together = Combat.joined(parts)
    for site in whole.sites:
        assert together.effects[site].location == pytest.approx(whole.effects[site].location, rel=1e-11, abs=1e-12)
        assert together.effects[site].scale == pytest.approx(whole.effects[site].scale, rel=1e-11)
    values = together.apply(features).values
    assert values == pytest.approx(whole.apply(features).values, abs=1e-10)
    assert together.feature_flags == whole.feature_flags == {features.names[7]: "constant"}
    assert np.array_equal(values[:, 7], features.values[:, 7])


def test_a_harmoniser_knows_its_maps_and_refuses_others(tmp_path):
    content, about = maps(Combat.fit(table())).pack()
    folder, harmonizer = str(tmp_path / "model"), model.Harmonizer(maps=about, **SAID)
    with pytest.raises(WeightsError, match=rf"weights-digest: expected {FILE} with sha256"):
        model.save(folder, harmonizer, "card", content[:-1])
    assert not model.is_harmonizer(folder)
    model.save(folder, harmonizer, "card", content)
    assert model.files_of(model.read(folder)) == (model.FILE, model.CARD, FILE)
    assert model.read_maps(folder, model.read(folder)).pack() == (content, about)
    assert model.read_maps(folder, model.Harmonizer(**SAID)) is None
    (tmp_path / "model" / FILE).write_bytes(content[:-8] + bytes(8))
    with pytest.raises(WeightsError, match="weights-digest"):
        model.read(folder)
    (tmp_path / "model" / FILE).unlink()
    with pytest.raises(WeightsError, match=r"maps-missing: expected maps.safetensors beside harmonizer.json"):
        model.read(folder)
    broken = about | {"combat": about["combat"] | {"sites": ["oslo"]}}
    with pytest.raises(WeightsError, match="maps-unreadable"):
        Maps.unpack(content, broken)


def test_maps_without_combat_are_a_model_of_the_space_alone():
    content, about = maps(None).pack()
    assert Maps.unpack(content, about).combat is None
    assert replace(maps(None), combat=Combat.fit(table())).pack()[1]["sha256"] != about["sha256"]
