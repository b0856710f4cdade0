"""Uncertainty that keeps its word: intervals of a Laplace error, stretched by what held-out persons ask for."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from cli.main import main
from core.errors import UsageError, WeightsError
from core.evaluation.metrics.interval import interval_scores
from core.evaluation.protocol import Entry
from core.evaluation.protocols.any_scan import PROTOCOL
from core.geometry.grid import Array
from core.models.calibration import LEVEL, Calibration, Stretch, note_stretches, read_calibration, read_stretches


def laplace(scale: float) -> tuple[Array, Array]:
    """A bright image and the same with errors of that scale."""
    draw = np.random.default_rng(0)
    truth = (1000 + draw.normal(0, 20, (40, 40, 40))).astype(np.float32)
    truth[:8] = 0  # air, in which nothing counts
    error = draw.laplace(0, scale, truth.shape).astype(np.float32)
    return truth, truth + np.where(truth > 0, error, 5000).astype(np.float32)


def test_the_interval_of_a_laplace_error_covers_its_level() -> None:
    truth, restored = laplace(7.0)
    half = np.full(truth.shape, -math.log(1 - LEVEL) * 7.0, np.float32)
    scores = interval_scores(restored, truth, half)
    assert scores["coverage"] == pytest.approx(0.9, abs=0.01)
    assert scores["stretch"] == pytest.approx(1, abs=0.02)
    assert interval_scores(restored, truth, half / 2)["stretch"] == pytest.approx(2 * scores["stretch"])
    assert interval_scores(restored, truth, half * 3, 3.0)["stretch"] == pytest.approx(scores["stretch"])
    assert interval_scores(restored, truth, half / 2)["coverage"] == pytest.approx(1 - math.sqrt(0.1), abs=0.01)
    assert scores["half_width"] == pytest.approx(100 * float(half[0, 0, 0]) / float(np.percentile(truth, 99.9)), rel=1e-3)


def test_stretches_are_linear_between_distances_and_constant_beyond() -> None:
    known = Calibration(stretches=(Stretch(spacing=2, stretch=1.0, persons=8), Stretch(spacing=4, stretch=2.0, persons=8)))
    assert [known.at(spacing) for spacing in (1, 2, 3, 4, 9)] == pytest.approx([1, 1, 1.5, 2, 2])
    assert Calibration().at(3) == 1


def test_an_evaluation_writes_stretches_and_the_command_puts_them_beside_a_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [
        Entry(
            person, "T1w", f"{spacing}mm0{profile}", "net+repair", {"psnr": 30.0, "stretch": stretch, "spacing": 0.75 * spacing}
        )
        for spacing, each in ((2, {"a": 1.0, "b": 3.0}), (4, {"a": 2.0, "b": 2.0}))
        for person, stretch in each.items()
        for profile in ("box", "gaussian")
    ]
    assert PROTOCOL.tables is not None
    written = PROTOCOL.tables(entries)["calibration.json"]
    rows = [(row["spacing"], row["stretch"], row["persons"]) for row in json.loads(written)["net+repair"]]
    assert rows == [(1.5, 2, 2), (3, 2, 2)]  # of mm, which the names of degradations are for voxels of 1 mm alone
    assert {tuple(row["contrasts"]) for row in json.loads(written)["net+repair"]} == {("T1w",)}
    assert "calibration.json" not in PROTOCOL.tables([Entry("a", "T1w", "2mm0box", "cubic", {"psnr": 3.0})])
    (tmp_path / "stretches.json").write_text(written)
    model = tmp_path / "model"
    model.mkdir()
    assert main(["models", "calibrated", str(model), str(tmp_path / "stretches.json")]) == 0
    assert "slices 3 mm apart: 2.00 times as wide as the network says (2 persons)" in capsys.readouterr().out
    for _ in range(2):  # what is there is replaced
        assert note_stretches(str(model), [Stretch(spacing=2, stretch=0.5, persons=3)]).at(2) == 0.5
    assert read_calibration(str(model)).stretches[0].persons == 3


@pytest.mark.parametrize(
    ("look", "said"),
    [
        (
            "T1w",
            "Calibrated for T1w on persons held out of its training; on scans of other scanners it may hold fewer.",
        ),
        ("FLAIR", "Nominal: calibrated for T1w, not for FLAIR, so the interval may hold fewer voxels than it says."),
        ("ce-gd_T1w", "Nominal: calibrated for T1w, not for ce-gd_T1w, so"),
        (None, "Nominal: calibrated for T1w, and this scan's contrast is not known, so"),
    ],
)
def test_a_map_says_whether_it_is_calibrated_for_a_contrast(look: str | None, said: str) -> None:
    common = {"stretch": 1.0, "persons": 8}
    stretches = Stretch(spacing=2, contrasts=("T1w", "T2w"), **common), Stretch(spacing=4, contrasts=("T1w",), **common)
    assert Calibration(stretches=stretches).told(look).startswith(said)
    assert Calibration().told(look).startswith("Nominal: the model was never calibrated")


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "calibration.json").write_text('{"stretches": [{"spacing": -1, "stretch": 1, "persons": 1}]}')
    with pytest.raises(
        WeightsError, match=r"calibration-unreadable: expected a model's calibration\.json in /.*, but got .*Correct or"
    ):
        read_calibration(str(tmp_path))
    with pytest.raises(UsageError, match=r"calibration-unreadable: expected stretches of an evaluation"):
        read_stretches(str(tmp_path / "none.json"))
    (tmp_path / "own.json").write_text('{"stretches": 5}')
    with pytest.raises(
        UsageError, match=r"calibration-unreadable: .* but got stretches: Input should be a valid tuple\. Name the"
    ):
        read_stretches(str(tmp_path / "own.json"))
    (tmp_path / "two.json").write_text('{"a": [], "b": []}')
    with pytest.raises(UsageError, match=r"calibration-method: expected one of a, b, but got none\. Name it by --method"):
        read_stretches(str(tmp_path / "two.json"))
