"""How a scan came about, as its sidecar tells it: simulated, measured, or as the user says."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import InputError
from core.geometry.grid import Grid
from core.operators.forward_model import DroppedSlices, InPlane, LowField, SliceProfile
from core.operators.sidecar import at_odds, fields_of, is_told, overlap, read_forward, simulated_by
from core.operators.width import SliceWidth
from core.settings.scans import AcquisitionSettings

THICK = Grid((20, 20, 8), np.diag([1, 1, 4, 1.0]))
CUBES = Grid((20, 20, 20), np.diag([2, 2, 2, 1.0]))
THIN = Grid((80, 60, 60), np.diag([1, 1.33, 1.33, 1.0]))  # sagittal slices of a 3D scan, thinner than their pixels are wide


def said(**how) -> AcquisitionSettings:
    return AcquisitionSettings(**how)


@pytest.mark.parametrize(
    ("sidecar", "gap"),
    [
        ({}, 0.0),
        ({"SliceThickness": 3.0}, 0.25),
        ({"SliceThickness": 1}, 0.75),
        ({"SliceThickness": 4.0}, 0.0),
        ({"SliceThickness": 3.97}, 0.0),  # rounding, no gap
        ({"SliceThickness": 5.0}, 0.0),  # slices that overlap
        ({"SliceThickness": 0}, 0.0),
        ({"SliceThickness": "thick"}, 0.0),
        ({"SliceThickness": 0.2}, 0.95),
        ({"SliceThickness": 0.19}, 0.0),  # of slices that thin there are none
        ({"SliceThickness": 0.004}, 0.0),  # in metres
        ({"SliceThickness": 1e-9}, 0.0),
        ({"SliceThickness": -4}, 0.0),
    ],
)
def test_the_thickness_of_measured_slices_tells_their_gap(sidecar, gap):
    assert read_forward(sidecar, THICK) == SliceProfile(slice_profile="box", slice_gap=gap)


@pytest.mark.parametrize(
    ("how", "forward"),
    [
        (said(), DroppedSlices(factor=4)),
        (said(slice_profile="box"), SliceProfile(slice_profile="box", slice_gap=0.75)),
        (said(slice_profile="point"), SliceProfile(slice_profile="point", slice_gap=0.75)),
        (said(slice_gap=0.1), SliceProfile(slice_profile="box", slice_gap=0.1)),
    ],
)
def test_what_the_user_says_wins_over_slices_that_were_dropped(how, forward):
    assert read_forward(fields_of(DroppedSlices(factor=4), 2, 1.0), THICK, how) == forward


def test_what_the_user_says_changes_that_alone_of_slices_that_were_averaged():
    sidecar = fields_of(LowField(factor=4), 2, 1.0)
    assert read_forward(sidecar, THICK, said(slice_gap=0.0)) == LowField(factor=4, slice_gap=0.0)
    assert read_forward(sidecar, THICK, said(slice_profile="box")) == LowField(factor=4, slice_profile="box")


def test_the_axis_is_told_only_where_the_grid_does_not_tell_it():
    thick, within = SliceProfile(factor=4), InPlane(factor=2, axis="S")
    assert read_forward(fields_of(thick, 2, 1.0), THICK) == thick
    assert read_forward(fields_of(thick, 0, 1.0), THICK).axis == "R"
    assert read_forward(fields_of(thick, 2, 1.0), CUBES).axis == "S"
    assert read_forward(fields_of(within, 2, 1.0), THICK) == within


def test_the_thickness_is_what_bids_asks_for():
    assert fields_of(LowField(factor=8), 2, 0.7)["SliceThickness"] == 4.2
    dropped = fields_of(DroppedSlices(factor=8), 2, 0.7)
    assert (dropped["SliceThickness"], dropped["SpacingBetweenSlices"]) == (0.7, 5.6)
    assert set(fields_of(InPlane(), 2, 0.7)) == {"Isovox"}


@pytest.mark.parametrize("own", [None, "text", [], {}, {"Degradation": "text"}, {"Digest": "a"}])
def test_sidecars_of_other_tools_tell_no_simulation(own):
    assert simulated_by({"Isovox": own, "SliceThickness": 3}, THICK) is None


@pytest.mark.parametrize(
    ("told", "names"),
    [
        ({"operator": "wavelets"}, "kind"),
        ({"operator": "slice-mask", "factor": "four"}, "factor"),
        ({"operator": "slice-profile", "slice_gap": 2}, "slice_gap"),
    ],
)
def test_a_simulation_that_nobody_knows_is_refused(told, names):
    wanted = rf"degradation-unknown: expected .* with its settings, but got something else in .*{names}\. Simulate"
    with pytest.raises(InputError, match=wanted):
        simulated_by({"Isovox": {"Degradation": told, "Axis": "S"}}, THICK)
    with pytest.raises(InputError, match="degradation-unknown"):
        simulated_by({"Isovox": {"Degradation": {"operator": "none"}, "Axis": "Z"}}, THICK)


def test_what_an_older_version_told_is_read():
    told = {"operator": "slice-mask", "factor": 4, "slice_profile": "box", "slice_gap": 0.0, "contrast": "T1w"}
    assert simulated_by({"Isovox": {"Degradation": told, "Axis": "S"}}, THICK) == DroppedSlices(factor=4)


def test_a_gap_is_told_to_a_thousandth():
    assert read_forward({"SliceThickness": 2.5}, Grid((20, 20, 8), np.diag([1, 1, 3.6, 1.0]))).slice_gap == 0.306


def test_slices_thicker_than_they_are_apart_are_named_with_what_they_are_taken_as():
    assert overlap({"SliceThickness": 6.0}, THICK) == "6 mm thick every 4 mm; taken as 4 mm thick"
    by_voxels = overlap({}, THICK, width=SliceWidth(mm=5.5, low=4.5, high=6.5))
    assert by_voxels == "5.5 mm (4.5 to 6.5) thick every 4 mm; taken as 4 mm thick"
    assert overlap({"SliceThickness": 6.0}, THICK, said(slice_profile="gaussian"))
    for sidecar, how, width in (
        ({"SliceThickness": 4.03}, said(), None),
        ({}, said(), SliceWidth(mm=4.3, low=3.9, high=5.3)),
        ({"SliceThickness": 6.0}, said(slice_gap=0.0), None),
        ({}, said(), None),
    ):
        assert overlap(sidecar, THICK, how, width) == ""


@pytest.mark.parametrize(
    ("sidecar", "grid", "gap", "words"),
    [
        ({"SpacingBetweenSlices": 6.0}, THICK, None, "6 mm apart by SpacingBetweenSlices and 4 mm by the header, which is taken"),
        (
            {"SpacingBetweenSlices": 4.05},
            THICK,
            None,
            "4.05 mm apart by SpacingBetweenSlices and 4 mm by the header, which is taken",
        ),
        ({"SpacingBetweenSlices": 4.03}, THICK, None, ""),
        ({"SpacingBetweenSlices": "far"}, THICK, None, ""),
        ({"SliceThickness": 3.0}, THICK, None, "3 mm thick by SliceThickness and 4 mm apart: taken as a gap of 25 %"),
        ({"SliceThickness": 3.0}, THICK, 0.2, ""),
        (
            {"SliceThickness": 0.004},
            THICK,
            None,
            "0.004 mm thick by SliceThickness and 4 mm apart, which cannot be: it is not used",
        ),
        ({"SliceThickness": -4}, THICK, None, "-4 mm thick by SliceThickness and 4 mm apart, which cannot be: it is not used"),
        (
            {"SliceThickness": 0.004},
            CUBES,
            None,
            "0.004 mm thick by SliceThickness and 2 mm apart, which cannot be: it is not used",
        ),
        ({"SliceThickness": 0.004}, THICK, 0.2, ""),
        (
            {"SliceThickness": 0.004, "SpacingBetweenSlices": 0.005},
            THICK,
            None,
            (
                "0.005 mm apart by SpacingBetweenSlices and 4 mm by the header, which is taken; "
                "0.004 mm thick by SliceThickness and 4 mm apart, which cannot be: it is not used"
            ),
        ),
        ({"SliceThickness": 3.0, "SpacingBetweenSlices": 4.0}, THICK, None, ""),
        ({"SliceThickness": 1.0, "SpacingBetweenSlices": 1.0}, THIN, None, ""),
        ({"SliceThickness": 0.9}, THIN, None, ""),
        (
            {"SpacingBetweenSlices": 1.33},
            THIN,
            None,
            "1.33 mm apart by SpacingBetweenSlices and 1 mm by the header, which is taken",
        ),
        ({"SpacingBetweenSlices": 1.0}, Grid((50, 50, 50), np.diag([1.05, 1.05, 1.0, 1.0])), None, ""),
    ],
)
def test_slices_otherwise_than_the_header_has_them_are_told(sidecar, grid, gap, words) -> None:
    assert at_odds(sidecar, grid, AcquisitionSettings(slice_gap=gap)) == words


@pytest.mark.parametrize("grid", [THIN, Grid((80, 60, 60), np.diag([0.9, 0.98, 0.98, 1.0]))])
def test_a_thickness_below_the_pixels_width_makes_no_gap_along_another_axis(grid) -> None:
    assert read_forward({"SliceThickness": grid.spacing[0]}, grid) == SliceProfile()
    assert overlap({"SliceThickness": 2.0}, THIN) == "2 mm thick every 1 mm; taken as 1 mm thick"


def test_a_thickness_that_cannot_be_is_as_if_nobody_told_it() -> None:
    width = SliceWidth(mm=3.0, low=2.5, high=3.5)
    assert not is_told({"SliceThickness": 0.004}, said(), THICK)
    assert is_told({"SliceThickness": 3}, said(), THICK)
    assert read_forward({"SliceThickness": 0.004}, THICK, width=width) == read_forward({}, THICK, width=width)
    assert overlap({"SliceThickness": 0.004}, THICK, width=SliceWidth(mm=5.5, low=4.5, high=6.5))
