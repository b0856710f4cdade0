"""A reading from folders of restored scans to tables: alike in all but the restoration, unlabelled, and no answer lost."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import GridError, UsageError
from core.evaluation.reading import QUESTIONS
from core.geometry.grid import Box, Grid, Orientation
from core.io import claim, files, nifti
from core.io.arrays.slabs import StoredAs
from core.settings.reading import ReadingSettings
from tasks.reading.folder import ReadingFolder
from tasks.reading.make import make, positions
from tasks.reading.score import score
from tasks.reading.sources import common, images_of, sources_of
from tasks.report.pictures import PLANES

STORED = StoredAs(Orientation((0, 1, 2), (False, False, False)), 1)
GRID = Grid((20, 24, 40), np.diag([3.0, 3.0, 2.0, 1.0]))
DESCRIBED = "sub-{}/anat/sub-{}_desc-restored_T1w.nii.gz"


def volume(gain: float = 1.0) -> np.ndarray:
    """A bright block in a dark field whose slices differ."""
    image = np.zeros(GRID.shape, np.float32)
    image[4:16, 4:20, 2:38] = gain * (100 + 2 * np.arange(36))
    return image


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, str]:
    """Two methods on two persons, and the truth of a third beside."""
    for method, gain in {"first": 1.0, "second": 0.5}.items():
        for person in ("01", "02"):
            nifti.save(str(tmp_path / method / DESCRIBED.format(person, person)), volume(gain), GRID, STORED)
    for person in ("01", "02", "03"):
        nifti.save(str(tmp_path / "truth" / f"sub-{person}/anat/sub-{person}_T1w.nii.gz"), volume(), GRID, STORED)
    return {name: str(tmp_path / name) for name in ("first", "second", "truth")}


def settings_of(out: Path, sources: dict[str, str], **more: object) -> ReadingSettings:
    return ReadingSettings(out=str(out), sources=tuple(f"{name}={folder}" for name, folder in sources.items()), **more)


# -- sources ----------------------------------------------------------------------------------------------------------------


def test_scans_are_matched_by_name_and_others_are_told(sources: dict[str, str]) -> None:
    scans, left = common(sources)
    assert [(scan.name, scan.person, sorted(scan.images)) for scan in scans] == [
        (f"sub-{person}_T1w", person, ["first", "second", "truth"]) for person in ("01", "02")
    ]
    assert left == ["sub-03_T1w"]
    assert [scan.name for scan in common(sources, ["sub-02*"])[0]] == ["sub-02_T1w"]
    with pytest.raises(
        UsageError, match=r"reading-scans: expected scans that every source has, but got 2 common scans, of which"
    ):
        common(sources, ["sub-09*"])


def test_a_truth_is_set_beside_its_simulated_scans(sources: dict[str, str], tmp_path: Path) -> None:
    for name in ("sub-01_rec-slicemask2_desc-restored_T1w", "sub-01_rec-slicemask4_desc-restored_T1w"):
        nifti.save(str(tmp_path / "run" / "sub-01/anat" / f"{name}.nii.gz"), volume(), GRID, STORED)
    scans, _ = common({"run": str(tmp_path / "run"), "truth": sources["truth"]})
    assert {scan.name: files.name_of(scan.images["truth"]) for scan in scans} == {
        "sub-01_rec-slicemask2_T1w": "sub-01_T1w.nii.gz",
        "sub-01_rec-slicemask4_T1w": "sub-01_T1w.nii.gz",
    }


def test_an_evaluation_gives_its_methods_and_their_degradations(tmp_path: Path) -> None:
    claim.mark(str(tmp_path), "evaluate")
    for method in ("a", "b"):
        for way in ("gap2", "gap4"):
            nifti.save(str(tmp_path / "restored" / method / way / "sub-01_T1w.nii.gz"), volume(), GRID, STORED)
    sources = sources_of([str(tmp_path)])
    assert list(sources) == ["a", "b"]
    assert [scan.name for scan in common(sources)[0]] == ["gap2/sub-01_T1w", "gap4/sub-01_T1w"]


def test_maps_and_masks_are_not_read(tmp_path: Path) -> None:
    for name in ("sub-01_desc-restored_T1w", "sub-01_desc-restoredSd_T1w", "sub-01_desc-lesion_mask", "sub-01_dseg"):
        (tmp_path / f"{name}.nii.gz").touch()
    assert list(images_of(str(tmp_path))) == ["sub-01_T1w"]


@pytest.mark.parametrize(
    "words", [["nothing"], ["a=/is/not/there", "b=/nor/this"], ["{first}"], ["a={first}"], ["a={first}", "a={second}"]]
)
def test_what_is_no_source_is_refused(sources: dict[str, str], words: list[str]) -> None:
    with pytest.raises(UsageError, match=r"reading-source: expected .* but got .*NAME=FOLDER"):
        sources_of([word.format(**sources) for word in words])


# -- series -----------------------------------------------------------------------------------------------------------------


def test_series_show_the_same_voxels_of_all_and_say_nothing_of_them(sources: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "reading"
    made = make(settings_of(out, sources, slices=4))
    assert (made.series, made.scans, made.left_out) == (6, 2, ["sub-03_T1w"])
    folder = ReadingFolder(str(out))
    for name in ("first", "second", "truth", "sub-", "T1w"):
        assert name not in (out / "reading.json").read_text()
    pictures = {
        about["Method"]: [np.asarray(Image.open(folder.picture(each, n))) for n in range(1, 5)]
        for each, about in folder.key.items()
        if about["Person"] == "01"
    }
    assert all(np.array_equal(a, b) for a, b in zip(pictures["first"], pictures["truth"], strict=True))
    levels = [int(picture.max()) for picture in pictures["first"]]
    assert levels == sorted(set(levels))  # next to one another, in order
    halved = [abs(int(a.max()) - 2 * int(b.max())) for a, b in zip(pictures["first"], pictures["second"], strict=True)]
    assert max(halved) <= 1  # one window for all
    assert pictures["first"][0].shape == (24, 20)  # the head, 4 voxels around it
    assert {each["Ratio"] for each in folder.content["Series"]} == {round(20 / 24, 4)}


def test_the_same_settings_make_the_same_reading_and_others_another_one(sources: dict[str, str], tmp_path: Path) -> None:
    def made(name: str, **more: object) -> dict[str, bytes]:
        make(settings_of(tmp_path / name, sources, slices=3, **more))
        return {path: (tmp_path / name / path).read_bytes() for path in files.walk(str(tmp_path / name))}

    assert made("a") == made("b")
    assert set(made("a")) != set(made("c", seed=1))


def test_a_cropped_image_is_seen_at_the_same_place(sources: dict[str, str], tmp_path: Path) -> None:
    box = Box((1, 2, 5), (19, 23, 36))
    nifti.save(str(tmp_path / "crop/sub-01_T1w.nii.gz"), np.ascontiguousarray(volume()[box.slices]), GRID.crop(box), STORED)
    make(settings_of(tmp_path / "reading", {"truth": sources["truth"], "crop": str(tmp_path / "crop")}))
    folder = ReadingFolder(str(tmp_path / "reading"))
    a, b = (np.stack([np.asarray(Image.open(folder.picture(each, n))) for n in range(1, 11)]) for each in folder.key)
    assert np.array_equal(a, b)


@pytest.mark.parametrize("affine", [np.diag([3.0, 3.0, 2.05, 1.0]), GRID.affine + np.eye(4, k=3)])
def test_other_voxels_are_refused(sources: dict[str, str], tmp_path: Path, affine: np.ndarray) -> None:
    nifti.save(str(tmp_path / "other/sub-01_T1w.nii.gz"), volume(), Grid(GRID.shape, affine), STORED)
    with pytest.raises(GridError, match=r"reading-grids: expected images of a scan with the same voxels, but got sub-01_T1w"):
        make(settings_of(tmp_path / "reading", sources | {"other": str(tmp_path / "other")}))


def test_slices_lie_in_the_middle_half_of_the_head_where_they_fit() -> None:
    draw, box = np.random.default_rng(0), Box((0, 0, 20), (10, 10, 100))
    starts = [positions(box, (10, 10, 120), PLANES[0], 10, draw) for _ in range(200)]
    assert min(slices[0] for slices in starts) == 40
    assert max(slices[-1] for slices in starts) == 79
    assert positions(Box((0, 0, 2), (9, 9, 7)), (9, 9, 8), PLANES[0], 10, draw) == list(range(8))
    assert positions(Box((0, 0, 10), (9, 9, 16)), (9, 9, 30), PLANES[0], 10, draw) == list(range(8, 18))


# -- answers ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def reading(sources: dict[str, str], tmp_path: Path) -> ReadingFolder:
    make(settings_of(tmp_path / "reading", sources, slices=2))
    return ReadingFolder(str(tmp_path / "reading"))


def answer_all(reading: ReadingFolder, reader: str, level: Callable[[dict[str, str]], int]) -> None:
    for series, about in reading.key.items():
        for question in QUESTIONS:
            reading.add(reader, series, question.name, level(about))


def test_the_last_answer_holds_and_a_line_that_was_cut_off_is_none(reading: ReadingFolder) -> None:
    series = next(iter(reading.key))
    reading.add("Dr-A", series, "realism", 2)
    reading.add("dr-a", series, "realism", 4)
    file = reading.path / "answers" / "dr-a.jsonl"
    with file.open("a") as handle:
        handle.write('{"series": "' + series)
    reading.add("DR-A", series, "anatomy", 1)
    assert reading.readers() == ["dr-a"]
    assert reading.answers("dr-a") == {(series, "realism"): 4, (series, "anatomy"): 1}


@pytest.mark.parametrize("reader", ["", "../up", "a b", "x" * 33, "-a"])
def test_a_reader_s_name_is_a_file_s_name(reading: ReadingFolder, reader: str) -> None:
    with pytest.raises(UsageError, match=r"reader-name: expected a short name of the reader.* Write 1 to 32 letters"):
        reading.answers(reader)


@pytest.mark.parametrize(("series", "question", "level"), [("nothing", "realism", 1), (None, "beauty", 1), (None, "realism", 5)])
def test_what_is_no_answer_is_refused(reading: ReadingFolder, series: str | None, question: str, level: int) -> None:
    with pytest.raises(UsageError, match=r"reading-answer: expected a series, one of its questions and a level of 1 to 4"):
        reading.add("a", series or next(iter(reading.key)), question, level)
    assert reading.readers() == []


def test_a_reading_that_is_answered_is_not_made_anew(reading: ReadingFolder, sources: dict[str, str]) -> None:
    answer_all(reading, "a", lambda _: 3)
    make(settings_of(reading.path, sources, slices=2))  # the same: as it is
    with pytest.raises(UsageError, match=r"reading-begun: expected a folder without answers, but got one that a answered"):
        make(settings_of(reading.path, sources, slices=3))
    assert len(reading.answers("a")) == 18


# -- scores -----------------------------------------------------------------------------------------------------------------


def table(reading: ReadingFolder, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((reading.scores / f"{name}.csv").open()))


def test_scores_of_answers_that_are_known(reading: ReadingFolder) -> None:
    levels = {"first": 3, "second": 1, "truth": 4}
    answer_all(reading, "a", lambda about: levels[about["Method"]])
    answer_all(reading, "b", lambda about: min(levels[about["Method"]] + 1, 4))
    reading.add("c", next(iter(reading.key)), "realism", 2)
    outcome = score(reading)
    said = {(row["method"], row["question"]): row["most frequent"] for row in table(reading, "summary")}
    assert said["first", "anatomy"] == "good, very good"
    assert said["second", "anatomy"] == "very bad, bad"
    assert said["truth", "consistency"] == "very good"
    assert outcome.unfinished == {"c": "1 of 18"}
    kappas = outcome.agreements["anatomy"].kappas
    assert 0 < (kappas["a", "b"] or 0) < 1
    assert kappas["a", "c"] is None
    pair = next(
        row for row in table(reading, "comparisons") if (row["question"], row["a"], row["b"]) == ("anatomy", "first", "second")
    )
    assert (pair["persons"], float(pair["difference"]), pair["better"]) == ("2", 2.0, "")
    assert outcome.too_few == "2 persons: with 9 comparisons at least 9 show a difference"
    assert len(table(reading, "answers")) == 37


def test_a_difference_is_significant_by_persons_not_by_answers(tmp_path: Path) -> None:
    folder = ReadingFolder(str(tmp_path))
    methods = {f"{n:012x}": {"Scan": f"s{n % 12}", "Person": f"{n % 12}", "Method": "ab"[n // 12]} for n in range(24)}
    folder.write({"Series": [{"Id": each} for each in methods]}, methods)
    answer_all(folder, "x", lambda about: 3 if about["Method"] == "b" else 2)
    outcome = score(folder)
    assert {pair.better for pair in outcome.pairs} == {"b"}
    assert outcome.too_few == ""
    one_person = {each: about | {"Person": "one"} for each, about in methods.items()}
    folder.write(json.loads((tmp_path / "reading.json").read_text()), one_person)
    assert {pair.better for pair in score(folder).pairs} == {""}


def test_without_answers_or_reading_there_is_no_score(reading: ReadingFolder, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"reading-unanswered: .* Let readers answer first"):
        score(reading)
    with pytest.raises(UsageError, match=r"reading-missing: expected a folder of a reading, but got no key.json"):
        score(ReadingFolder(str(tmp_path / "nothing")))
    with pytest.raises(UsageError, match=r"reading-remote: expected a folder on this machine"):
        ReadingFolder("s3://bucket/reading")
