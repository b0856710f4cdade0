"""The handshake: what disagrees is named with its figures; what is not stated or not known refuses nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import core
from core.errors import WeightsError
from core.geometry.grid import Grid
from core.models.bundle import read_bundle
from core.models.domain import Domain, Facts, both, disagreements, facts_of, read_domain, statements, unknown, write_domain
from core.operators.forward_model import InPlane, SliceProfile

SHIPPED = str(Path(core.__file__).parent / "methods" / "unet" / "weights" / "resunet-3d")
WHOLE = Domain(
    contrasts=("T1w", "T2w"),
    slice_spacing=(3.5, 4.5),
    slice_thickness=(3, 4),
    slice_gap=(0, 0.1),
    slice_profiles=("box",),
    kinds=("slice-profile",),
    factor=(3.5, 4.5),
    in_plane=(0.9, 1.1),
    plane_factor=(0.8, 1.2),
    anatomy=("brain",),
    sign="non-negative",
    noise=(0, 0.04),
    orientations=("axial", "coronal"),
    voxel_size=(1, 1),
    persons=48,
)
FIGURES = ("T1w", 4.0, 4.0, 0.0, "box", "slice-profile", (1.0, 1.0), "brain", 0.0, "axial", 1.0)
INSIDE = Facts(*FIGURES, pixel=(1.0, 1.0), noise=0.01)


def scan(thickness: float = 4.0, **said) -> Facts:
    grid = Grid((50, 60, 20), np.diag([1.0, 1.0, thickness, 1.0]))
    told = {"voxel_size": 1.0, "suffix": "T1w", "skull_stripped": True} | said
    return facts_of(grid, told.pop("forward", SliceProfile()), **told)


def test_a_scan_inside_has_nothing_said_against_it():
    assert disagreements(WHOLE, INSIDE) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"contrast": "FLAIR"}, ["FLAIR; trained for T1w or T2w"]),
        ({"slice_spacing": 3.0}, ["slices 3 mm apart; trained for 3.5 to 4.5 mm", "a factor of 3; trained for 3.5 to 4.5"]),
        ({"slice_thickness": 2.0}, ["slices of 2 mm; trained for 3 to 4 mm"]),
        ({"slice_gap": 0.25}, ["a gap of 25 % of the slices' distance; trained for 0 to 10 %"]),
        ({"slice_profile": "point"}, ["a point slice profile; trained for box"]),
        ({"kind": "k-space"}, ["a scan degraded as by k-space; trained for slice-profile"]),
        ({"in_plane": (1.0, 1.56)}, ["voxels of 1 x 1.56 mm within the slices; trained for 0.9 to 1.1 mm"]),
        ({"pixel": (1.0, 1.5)}, ["a factor of 1 x 1.5 within the slices; trained for 0.8 to 1.2"]),
        ({"anatomy": "head"}, ["a whole head; trained for skull-stripped brain"]),
        ({"lowest": -0.21}, ["values down to -0.21 of the brightest; trained for none below 0"]),
        ({"noise": 0.062}, ["noise of 0.062 of the brightest; trained for 0 to 0.04"]),
        ({"orientation": "sagittal"}, ["sagittal slices; trained for axial or coronal"]),
        ({"voxel_size": 1.1}, ["restored voxels of 1.1 mm; trained for 1 mm"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_each_field_refuses_by_name_and_figures(changed, said):
    facts = Facts(**vars(INSIDE) | changed)
    assert disagreements(WHOLE, facts) == said
    assert disagreements(Domain(), facts) == []
    assert disagreements(WHOLE, Facts()) == []


def test_both_ends_are_inside_and_so_are_roundings_of_a_header():
    for spacing in (3.5, 4.5, 3.4999, 4.5001):
        assert disagreements(Domain(slice_spacing=(3.5, 4.5)), Facts(slice_spacing=spacing)) == []
    assert disagreements(Domain(slice_spacing=(3.5, 4.5)), Facts(slice_spacing=4.52))


def test_ringing_of_an_interpolation_is_not_a_sign():
    assert disagreements(WHOLE, Facts(lowest=-0.04)) == []


def test_facts_of_a_scan_follow_its_grid_name_and_sidecar():
    assert scan() == Facts(
        "T1w", 4.0, 4.0, 0.0, "box", "slice-profile", (1.0, 1.0), "brain", None, "axial", 1.0, pixel=(1.0, 1.0)
    )
    gapped = scan(5.0, forward=SliceProfile(slice_gap=0.2), skull_stripped=False, voxel_size=2.0)
    assert (gapped.slice_spacing, gapped.slice_thickness, gapped.anatomy, gapped.factor) == (5.0, 4.0, "head", 2.5)
    dropped = scan(forward=SliceProfile(slice_profile="point"), suffix="MPRAGE", skull_stripped=None)
    assert (dropped.slice_thickness, dropped.contrast, dropped.anatomy) == (None, None, None)
    sagittal = facts_of(Grid((20, 60, 50), np.diag([4.0, 1.5, 1.0, 1.0])), SliceProfile())
    assert (sagittal.orientation, sagittal.in_plane, sagittal.slice_spacing) == ("sagittal", (1.5, 1.0), 4.0)
    isotropic = facts_of(Grid((50, 50, 50), np.diag([1.0, 1.0, 1.05, 1.0])), SliceProfile())
    assert (isotropic.orientation, isotropic.slice_spacing, isotropic.in_plane) == (None, pytest.approx(1.05), (1.0, 1.0))


def test_the_factor_within_slices_is_that_of_the_pixels_nearest_to_squares():
    """Of a scan that is coarser within its thin slices: these follow each other along its finest axis."""
    thin = facts_of(Grid((42, 64, 32), np.diag([1.52, 1.0, 1.5, 1.0])), InPlane(axis="A"), voxel_size=1.0)
    assert (thin.pixel, thin.plane_factor) == ((1.52, 1.5), (1.52, 1.5))
    thick = facts_of(Grid((42, 64, 32), np.diag([2.0, 2.0, 6.0, 1.0])), SliceProfile(), voxel_size=0.5)
    assert thick.plane_factor == (4.0, 4.0)
    assert statements(Domain(plane_factor=(1.75, 2.25))) == ["factor 1.75 to 2.25 within the slices"]


def test_what_is_stated_and_not_known_is_named():
    assert unknown(WHOLE, Facts()) == ["contrast", "head or brain"]
    assert unknown(Domain(), Facts()) == unknown(WHOLE, INSIDE) == []


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (scan(2.0), "slices of 2 mm; trained for 3.5 to 4.5 mm"),
        (scan(3.0), "slices of 3 mm; trained for 3.5 to 4.5 mm"),
        (scan(8.0), "a factor of 8; trained for 3.5 to 4.5"),
        (scan(suffix="T2w"), "T2w; trained for T1w"),
        (scan(skull_stripped=False), "a whole head; trained for skull-stripped brain"),
        (scan(forward=SliceProfile(slice_gap=0.25)), "a gap of 25 % of the slices' distance; trained for 0 %"),
    ],
)
def test_the_model_that_isovox_brings_says_what_it_is_for(facts, said):
    domain = read_domain(SHIPPED)
    assert said in disagreements(domain, facts)
    assert disagreements(domain, scan()) == []
    assert domain.persons == 48


def test_a_domain_lies_beside_the_config_and_leaves_the_digest(tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((Path(SHIPPED) / name).read_bytes())
    assert read_domain(str(tmp_path)) == Domain()
    write_domain(str(tmp_path), WHOLE)
    assert read_domain(str(tmp_path)) == WHOLE
    assert read_bundle(str(tmp_path)).digest == read_bundle(SHIPPED).digest
    (tmp_path / "domain.json").write_text('{"factor": [5, 3]}')
    with pytest.raises(
        WeightsError, match=r"domain-unreadable: .* in /.*, but got factor: .*least <= most\. Correct or remove it"
    ):
        read_domain(str(tmp_path))


def test_a_method_and_its_model_are_for_what_both_are_for():
    method = Domain(contrasts=("T2w", "FLAIR"), factor=(2, 4), anatomy=("brain", "head"))
    met = both(method, WHOLE)
    assert (met.contrasts, met.factor, met.anatomy, met.sign, met.persons) == (("T2w",), (3.5, 4), ("brain",), "non-negative", 48)
    assert both(Domain(), WHOLE) == both(WHOLE, Domain()) == WHOLE
    with pytest.raises(WeightsError, match=r"domain-empty: expected a method and a model for the same contrasts"):
        both(Domain(contrasts=("PDw",)), WHOLE)
    with pytest.raises(WeightsError, match=r"domain-empty: .* the same factor"):
        both(Domain(factor=(8, 8)), WHOLE)


def test_a_domain_is_told_in_words() -> None:
    stated = Domain(contrasts=("T1w", "FLAIR"), anatomy=("head",), slice_thickness=(3, 5), factor=(4, 4), slice_profiles=("box",))
    assert statements(stated) == ["T1w", "FLAIR", "whole head", "slices of 3 to 5 mm", "factor 4", "box slice profile"]
    assert statements(Domain()) == []
