"""What a choice by the scan thinks of a scan: cells are for slices, and a network is for what it was trained and measured on."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from core.engine.planning import best
from core.geometry.grid import Grid
from core.methods.auto import pick
from core.methods.auto.pick import OTHERWISE, among, ranked
from core.methods.registry import build_method, methods, shipped
from core.models.bundle import read_bundle
from core.models.domain import Facts, disagreements, facts_of, read_domain
from core.operators.forward_model import SliceProfile

MODELS = {name: read_bundle(str(own)).digest for name in among() if name in methods() and (own := shipped(name))}


def facts(sizes: tuple[float, float, float], voxel_size: float = 1.0, suffix: str = "T1w", **more) -> Facts:
    grid = Grid((60, 60, 40), np.diag([*sizes, 1.0]))
    known = {"skull_stripped": True, "lowest": 0.0} | more
    return facts_of(grid, SliceProfile(), voxel_size=voxel_size, suffix=suffix, **known)


def choice(scan: Facts) -> tuple[str, str]:
    able = {name: build_method(name, {}, str(own) if (own := shipped(name)) else None) for name in among() if name in methods()}
    return best(ranked(scan, MODELS), [scan], able)


@pytest.mark.parametrize("edge", [2.2, 2.6, 3.0, 4.0])
def test_scans_without_slices_go_to_the_method_for_any_scan(edge: float) -> None:
    assert choice(facts((edge, edge, edge))) == (OTHERWISE, "the scan has no slices")
    assert choice(facts((edge, edge, 1.05 * edge)))[0] == OTHERWISE


@pytest.mark.parametrize(
    ("sizes", "voxel_size", "why"),
    [
        ((0.45, 0.45, 8.0), 0.2, r"restored voxels of 0.2 mm; trained for 0.76 to 1.5 mm"),
        ((1.0, 1.0, 5.0), 4.0, r"restored voxels of 4 mm; trained for 0.76 to 1.5 mm"),
        ((3.0, 3.0, 5.0), 1.0, r"voxels of 3 x 3 mm within the slices; trained for 0.4 to 2.61 mm"),
    ],
)
def test_scans_beyond_what_the_network_was_trained_and_measured_on_go_there_too(sizes, voxel_size: float, why: str) -> None:
    name, words = choice(facts(sizes, voxel_size))
    assert name == OTHERWISE
    assert words.startswith("anyscan did ")
    assert why in words


@pytest.mark.parametrize("within", [(0.4, 0.4), (0.45, 0.45), (0.868, 1.0), (1.0, 1.0), (2.6, 2.6)])
def test_clinical_scans_stay_with_the_network(within: tuple[float, float]) -> None:
    for spacing in (5.0, 6.0):
        for orientation in range(3):
            sizes = list(within)
            sizes.insert(orientation, spacing)
            assert choice(facts((sizes[0], sizes[1], sizes[2])))[0] == "anyscan"


@pytest.mark.parametrize("suffix", ["T2w", "FLAIR", "PDw"])
def test_contrasts_that_were_drawn_are_chosen_for_and_the_reason_says_so(suffix: str) -> None:
    name, why = choice(facts((1.0, 1.0, 4.0), suffix=suffix))
    assert name == "anyscan"
    assert f"{suffix} (drawn from T1w) with slices 3.5 to 4.5 mm apart" in why
    assert "drawn" not in choice(facts((1.0, 1.0, 4.0)))[1]
    assert choice(facts((1.0, 1.0, 4.0), suffix="T2starw")) == (OTHERWISE, "no trained model was measured on such scans")


def test_with_a_contrast_agent_a_scan_is_of_another_contrast_unless_a_cell_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, enhanced = facts((1.0, 1.0, 5.0)), facts((1.0, 1.0, 5.0), agent="gadolinium")
    assert choice(plain)[0] == "anyscan"
    assert choice(enhanced) == (OTHERWISE, "no trained model was measured on such scans")
    cells = [cell.model_copy(update={"contrast": "ce-gadolinium_T1w"}) for cell in pick.table().cells]
    monkeypatch.setattr(pick, "table", lambda: pick.Table(cells=tuple(cells)))
    assert choice(enhanced)[0] == "anyscan"
    assert choice(plain)[0] == OTHERWISE


def test_the_models_that_come_along_are_those_that_were_measured() -> None:
    assert MODELS
    assert {name: pick.table().models[name] for name in MODELS} == MODELS


def test_of_another_model_than_was_measured_no_figures_are_told() -> None:
    scan = facts((1.0, 1.0, 4.0))
    assert "dB over cubic" in ranked(scan, MODELS)[0][1]
    name, why = ranked(scan, MODELS | {"anyscan": "0" * 64})[0]
    assert (name, why) == (
        "anyscan",
        "did best on T1w with slices 3.5 to 4.5 mm apart with another model; the one in use was not measured",
    )


def test_a_head_is_told_that_brains_were_measured() -> None:
    brain, head = (ranked(facts((1.0, 1.0, 4.0), skull_stripped=stripped), MODELS)[0][1] for stripped in (True, False))
    assert re.search(r"dB over cubic in brains of 8 persons \(mean, \+\d\.\d\d at least\)$", brain)
    assert head == f"{brain}; of heads, as this scan is, it was not measured"


def test_without_the_repair_it_is_told_that_what_was_measured_had_one() -> None:
    scan = facts((1.0, 1.0, 4.0))
    repaired, bare = (ranked(replace(scan, repaired=repair), MODELS)[0][1] for repair in (True, False))
    assert bare == f"{repaired}; without the repair, as here, it was not measured"


def test_cubes_are_outside_the_networks_domain_whoever_asks() -> None:
    domain = read_domain(str(shipped("anyscan")))
    assert disagreements(domain, facts((2.6, 2.6, 2.6))) == ["no slices; trained for axial or coronal or sagittal ones"]
    assert disagreements(domain, Facts(contrast="T1w", slice_spacing=2.6)) == []  # of a scan whose voxels nobody knows
