"""Gains over cubic interpolation by cell: their intervals, the model's card and domain, and what the plan then refuses."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from scipy.stats import ttest_1samp

from cli.main import main
from core.errors import UsageError, WeightsError
from core.evaluation.gains import interval
from core.evaluation.protocol import Entry
from core.evaluation.protocols.any_scan import PROTOCOL as ANY_SCAN
from core.evaluation.protocols.domain import PROTOCOL
from core.methods.auto.pick import Cell, Table
from core.models.card import Card, Figure, read_card, write_card
from core.models.domain import Domain, Facts, GainCell, both, disagreements, read_domain
from core.models.tested import METRIC, note_tested, read_cells

GAINS = {"2mm0box": (-8.0, -8.5, -7.9), "4mm0box": (2.0, 2.6, 2.3), "4mm20box": (0.4, -0.3, 0.2)}


def tables(entries: list[Entry]) -> dict[str, str]:
    assert PROTOCOL.tables is not None
    return dict(PROTOCOL.tables(entries))


def entries() -> list[Entry]:
    rows = []
    for name, gains in GAINS.items():
        for number, gain in enumerate(gains):
            for method, psnr in (("cubic", 30.0 + number), ("network", 30.0 + number + gain)):
                rows.append(Entry(f"{number:02d}", "T1w", name, method, {"psnr": psnr}))
    return rows


def test_the_interval_ends_where_a_t_test_would_just_find_a_gain() -> None:
    for gains in GAINS.values():
        mean, least = interval(gains)
        assert least is not None
        assert mean == pytest.approx(sum(gains) / 3)
        assert ttest_1samp(gains, least, alternative="greater").pvalue == pytest.approx(0.05)
    assert interval([1.5]) == (1.5, None)


def test_names_say_how_scans_are_degraded() -> None:
    for protocol, number in ((PROTOCOL, 12), (ANY_SCAN, 24)):
        for name, how in protocol.degradations.items():
            assert name == f"{how['factor']}mm{100 * how['slice_gap']:.0f}{how['slice_profile']}"
        assert len(protocol.degradations) == number
        assert protocol.baseline


def test_tables_hold_every_cell_and_persons_count_once() -> None:
    texts = tables([*entries(), *entries()])  # each scan twice: still three persons
    assert "| network | T1w | 2 | 0 | -8.13 | -8.68 | 3 |" in texts["domain.md"]
    (cells,) = json.loads(texts["domain.json"]).values()
    assert [(cell["factor"], cell["gap"]) for cell in cells] == [(2, 0), (4, 0), (4, 0.2)]


def test_each_scan_of_a_person_is_held_against_its_own_interpolation() -> None:
    """Two visits, of which interpolation does well and badly: the gain is 1 dB at both."""
    rows = [
        Entry(str(person), "T1w", "4mm0box", method, {"psnr": level + person + gain}, scan=f"sub-{person}_ses-{visit}_T1w")
        for person in range(3)
        for visit, level in (("a", 30.0), ("b", 24.0))
        for method, gain in (("cubic", 0.0), ("network", 1.0))
    ]
    ((cell,),) = json.loads(tables(rows)["domain.json"]).values()
    assert (cell["gain"], cell["least"], cell["persons"]) == (pytest.approx(1.0), pytest.approx(1.0), 3)


STEADY, VARYING, LITTLE, OTHERWISE = (2.0, 2.0, 2.1), (1.5, 2.5, 3.0), (1.0, 1.0, 1.2), (0.5, 0.4, 0.6)
ALL_THICK = ((2, 0), (4, 0), (4, 20))


def rows_of(gains: dict[str, tuple[float, ...]], slices=ALL_THICK, voxel: float | None = None) -> list[Entry]:
    """Rows of both profiles: cubic interpolation at 30 dB, and methods above it by person."""
    return [
        Entry(
            *(str(person), "T1w", f"{spacing}mm{gap}{profile}", method, {"psnr": 30 + gain[person]}),
            spacing=None if voxel is None else voxel * spacing,
        )
        for spacing, gap in slices
        for profile in ("box", "gaussian")
        for method, gain in {"cubic": (0.0,) * 9, **gains}.items()
        for person in range(min(map(len, gains.values())))
    ]


def choice(rows: list[Entry]) -> tuple[Cell, ...]:
    assert ANY_SCAN.tables is not None
    return Table.model_validate_json(ANY_SCAN.tables(rows)["choice.json"]).cells


def test_the_choice_ranks_repaired_methods_by_their_lower_ends() -> None:
    """A steady gain stands before a larger one of the mean that varies; profiles of one place count together."""
    gains = {"a+repair": STEADY, "b+repair": VARYING, "c": (9.0, 9.0, 9.1), "d+repair": LITTLE, "unires+repair": OTHERWISE}
    rows = rows_of(gains)
    rows.append(Entry("alone", "T2w", "4mm0box", "a+repair", {"psnr": 9.0}))
    rows.append(Entry("alone", "T2w", "4mm0box", "cubic", {"psnr": 1.0}))
    cells = choice(rows)
    assert [cell.methods for cell in cells] == [("a", "b", "d", "unires")] * 3
    assert [(cell.spacing, cell.gap) for cell in cells] == [
        ((1.9, 3.0), (0.0, 0.1)),
        ((3.0, 4.2), (0.0, 0.1)),
        ((3.8, 4.2), (0.1, 0.3)),
    ]
    assert {cell.persons for cell in cells} == {3}
    assert [gain for gain, _ in cells[0].gains] == pytest.approx([2.03, 2.33, 1.07, 0.5])
    assert all(least < gain for gain, least in cells[0].gains)


def test_ties_go_to_the_method_for_any_scan() -> None:
    """Its gain may be the smaller one: what counts is the difference, paired by person, and that its interval lies above 0."""
    varies = {"cubic+repair": (0.9, 1.1, 1.0, 1.2), "unires+repair": (1.0, 0.9, 1.1, 0.95)}
    (cell,) = choice(rows_of(varies, slices=((2, 0),)))
    assert cell.methods == ("unires", "cubic")
    assert cell.before_otherwise() == ()
    ahead = {"cubic+repair": (0.1, 2.1, 4.1, 6.1), "unires+repair": (0.0, 2.0, 4.05, 6.0)}  # far apart, each a little better
    (cell,) = choice(rows_of(ahead, slices=((2, 0),)))
    assert cell.methods == ("cubic", "unires")
    assert cell.paired[0] == (pytest.approx(0.09), pytest.approx(0.06))
    assert cell.paired[1] is None


def test_without_the_method_for_any_scan_nothing_can_be_said_to_be_better() -> None:
    assert choice(rows_of({"a+repair": STEADY})) == ()


def test_the_choice_counts_slices_in_mm_as_the_scans_grids_have_them() -> None:
    """Of voxels of 0.868 mm four make slices 3.47 mm apart, which are no 4 mm; the gains by factor stay as they are."""
    gains = {"a+repair": STEADY, "unires+repair": OTHERWISE}
    rows = rows_of(gains, slices=((4, 0), (8, 0)), voxel=0.868)
    assert [cell.spacing for cell in choice(rows)] == [(2.85, 5.0), (5.0, 7.35)]
    assert ANY_SCAN.tables is not None
    factors = [cell["factor"] for cell in json.loads(ANY_SCAN.tables(rows)["domain.json"])["a+repair"]]
    assert factors == [4, 8]
    whole = rows_of(gains, slices=((4, 0), (8, 0)), voxel=1.0)
    assert choice(whole) == choice(rows_of(gains, slices=((4, 0), (8, 0))))


def cell(factor: float, gain: float, gap: float = 0.0, contrast: str = "T1w") -> GainCell:
    return GainCell(contrast=contrast, factor=factor, gap=gap, gain=gain, least=gain - 0.1, persons=3)


def facts(spacing: float, gap: float = 0.0, contrast: str | None = "T1w") -> Facts:
    return Facts(contrast=contrast, slice_spacing=spacing, slice_gap=gap, voxel_size=1.0)


def test_a_scan_is_held_against_its_nearest_cell() -> None:
    domain = Domain(tested=(cell(2, -8), cell(4, 2), cell(4, -1, gap=0.25), cell(8, 0.05)))
    assert domain.stated
    for spacing, gap, refused in ((2, 0, True), (2.7, 0, True), (3, 0, False), (4.4, 0, False), (4, 0.2, True), (9, 0, True)):
        assert bool(disagreements(domain, facts(spacing, gap))) == refused, (spacing, gap)
    (reason,) = disagreements(domain, facts(2))
    assert re.fullmatch(
        r"slices like T1w of factor 2, gap 0 \(3 persons\), where it gains -8\.00 dB over cubic interpolation", reason
    )
    assert disagreements(domain, facts(2, contrast="T2w")) == []  # nothing was tested of it; ``contrasts`` refuses it
    assert disagreements(domain, Facts(contrast="T1w")) == []
    assert both(Domain(), domain).tested == domain.tested


def test_a_scan_with_a_contrast_agent_is_held_against_cells_of_such_scans() -> None:
    """Evaluations call them by their agent; where none were measured, those without count as before."""
    enhanced = replace(facts(4), agent="gadolinium")
    domain = Domain(tested=(cell(4, 2), cell(4, -3, contrast="ce-gadolinium_T1w")))
    (reason,) = disagreements(domain, enhanced)
    assert "ce-gadolinium_T1w" in reason
    assert disagreements(domain, facts(4)) == []
    assert disagreements(Domain(tested=(cell(4, 2), cell(2, -8))), enhanced) == []
    assert disagreements(Domain(tested=(cell(4, -8),)), enhanced)


@pytest.fixture
def model(tmp_path) -> str:
    write_card(str(tmp_path), Card(title="network", figures=(Figure(on="here", method="network", metric="PSNR dB", value=30),)))
    return str(tmp_path)


def test_the_command_writes_card_and_domain(model, tmp_path) -> None:
    (tmp_path / "cells.json").write_text(tables(entries())["domain.json"])
    for _ in range(2):
        assert main(["models", "tested", model, str(tmp_path / "cells.json")]) == 0
    card = read_card(model)
    assert card is not None
    assert [figure.metric for figure in card.figures] == ["PSNR dB", METRIC, METRIC, METRIC]
    assert "T1w of factor 4, gap 0 (3 persons)" in (tmp_path / "README.md").read_text()
    domain = read_domain(model)
    assert [bool(disagreements(domain, facts(spacing))) for spacing in (2, 4)] == [True, False]


def test_what_cannot_be_taken_is_told(model, tmp_path) -> None:
    path = tmp_path / "cells.json"
    path.write_text("[]")
    with pytest.raises(UsageError, match=r"tested-unreadable: expected cells of an evaluation, but got .*\. Name the domain"):
        read_cells(str(path))
    path.write_text('{"contrasts": ["T1w"], "persons": 5}')  # a model's own
    with pytest.raises(
        UsageError, match=r"tested-unreadable: .* but got contrasts\.0: Input should be .*; persons: Input should"
    ):
        read_cells(str(path))
    path.write_text('{"a": [{"contrast": 1}]}')
    with pytest.raises(
        UsageError, match=r"tested-unreadable: .* but got a\.0\.contrast: Input should be a valid string; "
    ) as told:
        read_cells(str(path))
    assert "pydantic" not in str(told.value)
    path.write_text('{"a": [], "b": []}')
    with pytest.raises(UsageError, match=r"tested-method: expected one of a, b, but got none\. Name it by --method"):
        read_cells(str(path))
    (tmp_path / "card.json").unlink()
    path.write_text('{"a": []}')
    with pytest.raises(WeightsError, match=r"card-missing: expected a model with a card\.json, but got none"):
        note_tested(model, ())
