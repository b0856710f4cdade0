"""Report pages: sides, aspect, escaping, nothing from outside, counts that add up."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from core.engine.records import ScanRecord
from core.errors import GridError, UsageError
from core.geometry.grid import Box, Grid
from core.settings.run import QualityThresholds
from tasks.report import CohortView, ScanView, cohort_page, scan_page, scan_picture, viewer_of
from tasks.report import viewer as viewer_module
from tasks.report.charts import course, distribution, ticks
from tasks.report.pages import public, quality_rows
from tasks.report.pictures import BUDGET, PLANES, Scale, Window, colour_table, cut, head_box, scan_pictures, window_of

BALL = (42, 50, 45)  # voxel at the right, front and top of the head


class Page(HTMLParser):
    """Elements, addresses and ids of a page; fails on a tag that is closed out of turn."""

    VOID = frozenset({"meta", "img", "input", "br", "link", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID and not self.get_starttag_text().endswith("/>"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag

    def addresses(self) -> list[str]:
        return [value for name, value in self.attributes if name in {"src", "href", "action", "srcset", "data"}]


def strip_of(view: ScanView, plane: int, layer: str) -> np.ndarray:
    address = scan_pictures(view).planes[plane].strips[layer]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("L"))


@pytest.mark.parametrize("plane", PLANES, ids=lambda plane: plane.name)
def test_a_slice_lies_in_radiological_convention(scan_view: ScanView, plane) -> None:
    image = np.zeros(scan_view.target.shape, np.float32)
    image[BALL] = 1  # right, anterior, superior of the middle
    picture = cut(image, plane, BALL[plane.axis], Box.whole(image.shape))
    row, column = (int(at[0]) for at in np.nonzero(picture))
    height, width = picture.shape
    side, up = ("L" if column > width / 2 else "R") if plane.axis else ("P" if column > width / 2 else "A"), row < height / 2
    assert up
    assert side == ("R" if plane.axis else "A")
    assert plane.sides[0] == side


def test_grids_whose_sides_would_be_mislabelled_are_refused(scan_view: ScanView) -> None:
    flipped = Grid(scan_view.target.shape, scan_view.target.affine @ np.diag([-1, 1, 1, 1.0]))
    with pytest.raises(GridError, match="not-canonical"):
        scan_page(dataclasses.replace(scan_view, target=flipped))


def test_the_labels_of_a_page_are_those_of_its_planes(scan_view: ScanView) -> None:
    page = scan_page(scan_view)
    for plane in PLANES:
        figure = page.split(f'data-plane="{plane.name}"')[1].split("</figure>")[0]
        found = dict(re.findall(r'class="side (\w+)"[^>]*>(\w)<', figure))
        assert tuple(found[place] for place in ("left", "right", "up", "down")) == plane.sides


def test_slices_have_their_size_in_mm(scan_view: ScanView) -> None:
    stretched = Grid(scan_view.target.shape, scan_view.target.affine @ np.diag([1, 1, 2, 1.0]))
    coarse = Grid(scan_view.measured_grid.shape, scan_view.measured_grid.affine @ np.diag([1, 1, 2, 1.0]))
    box = head_box(scan_view).shape
    axial, coronal, sagittal = scan_pictures(dataclasses.replace(scan_view, target=stretched, measured_grid=coarse)).planes
    assert (axial.width, axial.height) == pytest.approx((box[0], box[1]))
    assert (coronal.width, coronal.height) == pytest.approx((box[0], 2 * box[2]))
    assert (sagittal.width, sagittal.height) == pytest.approx((box[1], 2 * box[2]))


def test_slices_are_named_by_their_place(scan_view: ScanView) -> None:
    axial, coronal, sagittal = (one.places for one in scan_pictures(scan_view).planes)
    assert axial[0].startswith("I ")
    assert axial[-1].startswith("S ")
    assert (coronal[0][0], coronal[-1][0], sagittal[0][0], sagittal[-1][0]) == ("P", "A", "L", "R")
    assert all(re.fullmatch(r"[A-Z] \d+\.\d mm", place) for place in axial + coronal + sagittal)


def test_the_same_window_for_every_image_and_colours_around_black() -> None:
    np.testing.assert_array_equal(Window(0, 10).grey(np.array([-5, 0, 5, 10, 50, np.nan], np.float32)), [0, 0, 128, 255, 255, 0])
    scale = Scale(4)
    blue, zero, red = scale.colour(np.array([-4, 0, 4], np.float32)).astype(int)
    assert zero.tolist() == [0, 0, 0]
    assert blue[2] > blue[0]
    assert red[0] > red[2]
    assert len(colour_table()) == 255
    assert Scale.of(np.array([3.0] * 100, np.float32)).end == 3


def test_dark_brains_under_bright_fat_are_shown_brighter(scan_view: ScanView) -> None:
    assert window_of(scan_view).bright == 1
    fat = dataclasses.replace(scan_view, source=scan_view.source + 900 * (scan_view.source > 190))
    window = window_of(fat)
    assert window.bright > 1.5
    assert window.shown.grey(np.array([100], np.float32))[0] > 1.5 * window.grey(np.array([100], np.float32))[0]


def test_a_few_negative_voxels_leave_the_air_black_and_a_minus_is_no_hyphen(scan_view: ScanView) -> None:
    source = scan_view.source.copy()
    source.flat[: source.size // 200] = -50.5
    assert window_of(dataclasses.replace(scan_view, source=source)).low == 0
    source.flat[: source.size // 50] = -50.5
    negative = dataclasses.replace(scan_view, source=source)
    assert window_of(negative).low == -50.5
    assert "Black to white is \N{MINUS SIGN}50.5 to " in scan_page(negative)
    assert ticks(-30, 30)[0].text.startswith("\N{MINUS SIGN}")


def test_words_and_sizes_hold_for_heads_and_brains_and_are_of_one_form() -> None:
    figures = {"volume_change": 0.01, "volume_mm3": 929e3}
    titles = [row.title for row in quality_rows(ScanRecord(key="a", state="done", quality=figures), QualityThresholds())]
    assert titles == ["change of the volume of head or brain", "head or brain in the restored scan, ml"]
    for size, shown in ((1.0, "1 mm"), (0.75, "0.75 mm"), ("auto", "the smallest edge of each scan")):
        assert f"<dt>Voxel size</dt><dd>{shown}</dd>" in cohort_page(CohortView([], "study", {"voxel_size": size}, "00", {}))


def test_the_difference_is_restored_minus_cubic(scan_view: ScanView) -> None:
    same = dataclasses.replace(scan_view, restored=scan_view.cubic, consistency=0 * scan_view.consistency)
    assert strip_of(same, 0, "difference").max() < 8
    assert strip_of(same, 1, "consistency").max() < 8
    assert strip_of(scan_view, 0, "difference").max() > 100


def test_colours_are_stored_exactly_and_greys_nearly(scan_view: ScanView) -> None:
    """A pixel is red, or blue, or neither, as its voxel is: neighbours of the other sign do not mix with it."""
    turns = np.indices(scan_view.target.shape).sum(0) % 2 * 2 - 1
    noisy = dataclasses.replace(scan_view, restored=scan_view.cubic + np.float32(10) * turns.astype(np.float32))
    pictures = scan_pictures(noisy)
    address = pictures.planes[0].strips["difference"]
    stored = np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB"))
    colours = {tuple(colour) for colour in np.unique(stored.reshape(-1, 3), axis=0).tolist()}
    assert 2 <= len(colours) <= 4  # rounding moves a value to the next level, at most
    assert colours <= {tuple(colour) for colour in colour_table().tolist()}
    assert base64.b64decode(address.partition(",")[2])[12:16] == b"VP8L"
    assert scan_page(noisy).count(' exact" src=') == 2 * 3  # which the browser does not smooth
    assert base64.b64decode(pictures.planes[0].strips["restored"].partition(",")[2])[12:16] == b"VP8 "


def test_figures_are_named_and_given_in_per_cent(scan_view: ScanView) -> None:
    figures = scan_view.record.quality | {"local_cubic": 0.031, "banding": -0.012}
    rows = {
        row.title: row.value
        for row in quality_rows(scan_view.record.model_copy(update={"quality": figures}), scan_view.thresholds)
    }
    assert rows["largest local difference of cubic interpolation, %"] == "3.1"
    assert rows["brightness of even slices over odd ones, %"] == "\N{MINUS SIGN}1.2"


@pytest.mark.parametrize(
    ("about", "title"), [("Calibrated for T1w.", "the 90 %"), ("Nominal: never.", "the nominal 90 %"), ("", "the nominal 90 %")]
)
def test_an_interval_is_nominal_unless_it_was_calibrated(scan_view: ScanView, about: str, title: str) -> None:
    facts = scan_view.record.provenance | {"Maps": {"uncertainty": {"Description": about}}}
    record = scan_view.record.model_copy(update={"provenance": facts})
    text = scan_page(dataclasses.replace(scan_view, record=record, maps={"uncertainty": scan_view.restored * np.float32(0.1)}))
    assert f"Uncertainty: half width of {title} interval</h2>" in text
    assert "none given (outside the head)" in text


def test_a_page_needs_nothing_beside_itself(scan_view: ScanView, cohort_view: CohortView) -> None:
    for text in (scan_page(scan_view), cohort_page(cohort_view), viewer_of(scan_view).page):
        head = text.split("<body>")[0]
        assert "default-src 'none'" in head
        addresses = Page(re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)).addresses()
        assert all(not re.match(r"(\w+:)?//|/|https?:", address) for address in addresses), addresses
        assert "@import" not in text.split("<script")[0]
        assert "for research, not for diagnosis" in text.lower()


def test_a_page_has_every_part(scan_view: ScanView) -> None:
    text = scan_page(scan_view)
    for heading in (
        "Before and after",
        "Difference: restored minus cubic",
        "Consistency",
        "Quality",
        "Intensities",
        "Provenance",
    ):
        assert heading in text
    assert text.count('class="wipe"') == 3
    assert "noise SD" in text
    assert re.search(r"consistency with the measured scan.*?15 noise SD.*?≤ 12 noise SD.*?flagged", text, re.DOTALL)
    assert "cd" * 32 in text


def test_a_page_says_how_slices_that_overlap_are_taken(scan_view: ScanView) -> None:
    words = "5 mm thick every 2.5 mm; taken as 2.5 mm thick"
    record = scan_view.record.model_copy(update={"provenance": scan_view.record.provenance | {"SliceOverlap": words}})
    assert f"they overlap: {words}" in scan_page(dataclasses.replace(scan_view, record=record))
    assert "overlap: " not in scan_page(scan_view)


def test_images_have_words_and_ids_are_unique(scan_view: ScanView, cohort_view: CohortView) -> None:
    for text in (scan_page(scan_view), cohort_page(cohort_view)):
        page = Page(text)
        ids = [value for name, value in page.attributes if name == "id"]
        assert len(ids) == len(set(ids))
        assert set(re.findall(r'(?:aria-labelledby|for)="([^"]+)"', text)) <= set(ids)
        assert all('alt="' in image for image in re.findall(r"<img[^>]*>", text))


def test_what_others_wrote_is_escaped(scan_view: ScanView, cohort_view: CohortView) -> None:
    for text in (scan_page(scan_view), cohort_page(cohort_view)):
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert(1)" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("got /home/jane/secret/scan.nii.gz; fix", "got …/scan.nii.gz; fix"),
        ("s3://bucket/doe/x.nii", "…/x.nii"),
        (r"C:\Users\doe\x.nii", "…/x.nii"),
        ("sub-01/anat/x.nii.gz", "sub-01/anat/x.nii.gz"),
        ("1/2 of 3/4", "1/2 of 3/4"),
        ("file:///mnt/doe/x", "…/x"),
    ],
)
def test_paths_are_shortened_to_their_last_name(text: str, shown: str) -> None:
    assert public(text) == shown


def test_planted_names_reach_no_page(scan_view: ScanView, cohort_view: CohortView) -> None:
    said = {"Source": "/data/DOE_JANE/dicom/1.dcm", "Settings": {"x": ["/mnt/DOE_JANE/a"], "/root/DOE_JANE/k": 1}}
    record = scan_view.record.model_copy(update={"provenance": said, "reason": "got '/srv/DOE_JANE/in.nii' here"})
    view = dataclasses.replace(scan_view, record=record)
    cohort = dataclasses.replace(cohort_view, records=[record], settings={"trust": "/srv/DOE_JANE/s"}, links={})
    assert all("DOE_JANE" not in text for text in (scan_page(view), cohort_page(cohort), viewer_of(view).page))


def test_counts_add_up(cohort_view: CohortView) -> None:
    text = cohort_page(cohort_view)
    assert "7 scans planned = 4 done + 1 skipped + 1 flagged + 1 failed" in text
    assert text.count("<tr data-state=") == 7
    assert "…/sub-99.nii" in text
    assert text.count('<a href="reports/') == 1


@pytest.mark.parametrize("count", [0, 1, 500])
def test_a_cohort_of_any_size_has_a_page(count: int) -> None:
    records = [
        ScanRecord(key=f"s{n}", state="done", quality={"consistency": n / 50, "gain_error": 0.001 * (n % 9)})
        for n in range(count)
    ]
    text = cohort_page(CohortView(records, "study", {}, "00", {}))
    assert text.count("<tr data-state=") == count
    Page(text)


def test_pages_of_the_same_are_the_same(scan_view: ScanView, cohort_view: CohortView) -> None:
    assert scan_page(scan_view) == scan_page(scan_view)
    assert cohort_page(cohort_view) == cohort_page(cohort_view)


def test_a_page_stays_under_5_mb_however_large_and_noisy_the_scan(scan_view: ScanView) -> None:
    rng = np.random.default_rng(0)
    shape = (320, 320, 240)
    noise = rng.uniform(0, 100, shape).astype(np.float32)
    grid = Grid(shape, np.diag([0.6, 0.6, 0.6, 1.0]))
    large = dataclasses.replace(
        scan_view, source=noise, cubic=noise, restored=noise, target=grid, measured_grid=grid, consistency=noise
    )
    size = len(scan_page(large))
    assert BUDGET / 2 < size < 5_000_000


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 40, 1), (30, 1, 30)])
def test_thin_scans_have_a_page(scan_view: ScanView, shape: tuple[int, int, int]) -> None:
    image = np.full(shape, 3, np.float32)
    grid = Grid(shape, np.eye(4))
    view = dataclasses.replace(
        scan_view, source=image, cubic=None, restored=image, target=grid, measured_grid=grid, consistency=image
    )
    assert "restored minus input" in scan_page(view)
    assert scan_picture(view)
    assert viewer_of(view).scripts


def test_the_picture_is_a_jpeg_of_three_rows(scan_view: ScanView) -> None:
    tall = Image.open(io.BytesIO(scan_picture(scan_view)))
    assert tall.format == "JPEG"
    short = Image.open(io.BytesIO(scan_picture(dataclasses.replace(scan_view, cubic=None))))
    assert tall.height > short.height


def test_a_missing_viewer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    viewer_module.niivue.cache_clear()
    monkeypatch.setattr(viewer_module, "SCRIPT", ("nilearn", "nowhere.js"))
    with pytest.raises(UsageError, match=r"viewer-missing: expected NiiVue in the package nilearn.*Install"):
        viewer_module.niivue()


def test_distributions_place_every_scan_and_mark_those_beyond() -> None:
    values = [(f"s{n}", float(n)) for n in range(10)]
    chart = distribution("Figure", values, frozenset({"s9"}), (8.5,))
    assert len(chart.blocks) == 10
    assert [block.flagged for block in chart.blocks].count(True) == 1
    beyond = next(block for block in chart.blocks if block.flagged)
    assert beyond.x >= chart.limits[0] - 0.1
    assert all(block.x + block.width <= chart.limits[0] + 0.1 for block in chart.blocks if not block.flagged)
    assert all(0 <= block.x <= 340 and 0 <= block.y <= 170 for block in chart.blocks)


@pytest.mark.parametrize("factor", [2.0, 1000.0])
def test_the_course_of_a_figure_is_drawn_from_its_first_step_to_its_last(factor: float) -> None:
    rows = [(step, factor ** (-step / 20)) for step in range(1, 21)]
    chart = course("Loss", rows)
    points = [tuple(map(float, point.split(","))) for point in chart.curves[0].points.split()]
    across, down = zip(*points, strict=True)
    assert list(across) == sorted(across)
    assert list(down) == sorted(down)  # it falls
    assert (across[0], across[-1], down[0], down[-1]) == (12, 328, 10, 132)
    assert ("logarithmic" in chart.text) == (factor > 50)
    straight = abs(down[10] - (10 + (132 - 10) * 10 / 19)) < 1
    assert straight == (factor > 50)
    assert "after step 1 to" in chart.text
    assert chart.text.count("after step 20") == 1


@pytest.mark.parametrize("rows", [[(1, 3.0)], [(1, 2.0), (2, 2.0)], [(3, 0.0), (4, -1.0)]])
def test_a_short_course_is_drawn_too(rows: list[tuple[int, float]]) -> None:
    chart = course("Loss", rows)
    assert "nan" not in chart.curves[0].points
    assert [tick.text for tick in chart.ticks][: len(rows)] == [str(step) for step, _ in rows]


def test_a_page_shows_what_the_steps_told(scan_view: ScanView) -> None:
    assert "Steps of the restoration" not in scan_page(scan_view)
    told = {"steps": {"relative_change": [(1, 0.5), (2, 0.25)], "none": []}, "step_seconds": 0.25}
    record = scan_view.record.model_copy(update=told | {"pictures": {"kernel": [[0.0, 0.5], [0.25, 0.25]]}})
    text = scan_page(dataclasses.replace(scan_view, record=record))
    page = Page(text)
    assert text.count("Relative change: from 0.5 after step 1 to 0.25 after step 2") == 2  # for the eye and for the ear
    assert "A step took 0.25 seconds" in text
    assert "Kernel: 2 by 2 values; black is 0, white 0.5" in text
    assert ("id", "course-1") in page.attributes
    assert ("id", "course-2") not in page.attributes


def test_ticks_are_round_and_within() -> None:
    found = [tick.text.replace("\N{MINUS SIGN}", "-") for tick in ticks(-0.031, 0.087)]
    assert "0.00" in found
    assert found == sorted(found, key=float)
    assert 2 <= len(found) <= 8


def test_thresholds_of_the_run_judge_the_table(cohort_view: CohortView) -> None:
    strict = QualityThresholds(max_consistency=0.5).model_dump()
    text = cohort_page(dataclasses.replace(cohort_view, settings={"quality": strict}))
    assert text.count("beyond the threshold</span>") > cohort_page(cohort_view).count("beyond the threshold</span>")


def test_a_page_says_why_a_scan_has_a_method_of_its_own(scan_view: ScanView) -> None:
    chosen = scan_view.record.provenance | {"MethodChosen": "did best on T1w"}
    view = dataclasses.replace(scan_view, record=scan_view.record.model_copy(update={"provenance": chosen}))
    assert "</b>: did best on T1w</span>" in scan_page(view)
    assert "did best" not in scan_page(scan_view)


def test_a_page_says_what_went_into_a_fused_scan_and_what_became_coarser(scan_view: ScanView) -> None:
    plain = scan_page(scan_view)
    assert "<b>Fused:</b>" not in plain
    assert "<b>Coarser:</b>" not in plain
    both = scan_view.record.inputs | {"/data/jane/sub-01_acq-sag_T1w.nii.gz": "ef" * 32}
    source = Grid(scan_view.measured_grid.shape, scan_view.measured_grid.affine @ np.diag([0.7, 0.7, 1, 1]))
    fused = scan_view.record.model_copy(update={"inputs": both})
    text = scan_page(dataclasses.replace(scan_view, record=fused, measured_grid=source))
    assert "restored from 2 scans of this person together: sub-01_T1w.nii.gz, sub-01_acq-sag_T1w.nii.gz" in text
    assert "voxels of 0.7 mm became 1 mm: finer detail was left out" in text
    assert "jane" not in text


@pytest.mark.parametrize(("gain", "which"), [(0.051, "5.1 % brighter"), (-0.051, "5.1 % darker")])
def test_a_page_says_that_banding_was_taken_out(scan_view: ScanView, gain: float, which: str) -> None:
    assert "<b>Banding:</b>" not in scan_page(scan_view)
    evened = scan_view.record.model_copy(update={"quality": scan_view.record.quality | {"banding_removed": gain}})
    text = scan_page(dataclasses.replace(scan_view, record=evened))
    assert f"<b>Banding:</b> every second measured slice was {which} than those beside it" in text
