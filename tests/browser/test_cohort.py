"""The cohort's page in a real browser: pictures and table, sorted, filtered and rated; from a rating to what is left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.engine.records import ScanRecord
from core.io.ratings import Rating, by_site, read_ratings
from tasks.report import CohortView, cohort_page
from tasks.report.citation import Citation

Open = Callable[..., Any]
COHORT = "report.html"


def as_table(page: Any) -> Any:
    page.get_by_label("table", exact=True).check()
    return page


def test_the_page_opens_on_pictures_and_each_leads_to_every_slice(opened: Open) -> None:
    page = opened(COHORT)
    tiles = page.locator(".tile:visible")
    assert tiles.count() == 7
    assert not page.locator("#table").is_visible()
    picture = page.get_by_role("img", name="sub-01_T1w, before and after")
    assert picture.get_attribute("loading") == "lazy"
    assert picture.evaluate("one => one.decode().then(() => one.naturalWidth)") > 100
    assert "expected a scan" in page.locator(".tile[data-key=sub-99_T1w]").text_content()
    picture.click()
    assert page.url.endswith("reports/sub-01_T1w_viewer.html")


def test_pictures_sort_and_filter_as_the_table_does(opened: Open) -> None:
    page = opened(COHORT)
    names = page.locator(".tile:visible .name")
    page.select_option("#order", label="Consistency, noise SD")
    assert names.all_text_contents() == [f"sub-{n:02}_T1w" for n in (10, 5, 4, 3, 2, 1)] + ["sub-99_T1w"]
    page.get_by_label("descending").check()
    assert names.first.text_content() == "sub-01_T1w"
    page.select_option("select.fact >> nth=1", "oslo")
    assert page.get_by_role("status").inner_text() == "4 of 7 shown"
    page.get_by_label("least value of the figure").fill("6.5")
    assert names.all_text_contents() == ["sub-02_T1w", "sub-03_T1w"]
    page.select_option("select.fact >> nth=1", "")
    assert names.count() == 3
    page.select_option("select.fact >> nth=0", "T1w")
    assert names.count() == 3


def test_pictures_sort_and_filter_by_figures_that_the_table_does_not_show(opened: Open) -> None:
    page = opened(COHORT)
    names = page.locator(".tile:visible .name")
    page.select_option("#order", label="noise SD of the measured scan, its units")
    page.get_by_label("descending").check()
    shown = [float(text.split()[-1]) for text in page.locator(".tile:visible .value").all_text_contents() if "–" not in text]
    assert len(set(shown)) > 2
    assert shown == sorted(shown, reverse=True)
    page.select_option("#figure", label="noise SD of the measured scan, its units")
    page.get_by_label("least value of the figure").fill(str(shown[1]))
    assert names.count() == 2


def test_a_range_finds_figures_below_nought_as_well(opened: Open, pages: Path, cohort_view: CohortView) -> None:
    records = [
        ScanRecord(key=f"sub-{n:02}_T1w", state="done", quality={"volume_change": change})
        for n, change in enumerate([-0.2, -0.01, 0.03])
    ]
    (pages / "shrunk.html").write_text(cohort_page(dataclasses.replace(cohort_view, records=records)), encoding="utf-8")
    page = as_table(opened("shrunk.html"))
    page.select_option("#figure", label="Volume, %")
    names = page.locator("#table tbody th:visible")
    page.get_by_label("greatest value of the figure").fill("-5")
    assert names.all_inner_texts() == ["sub-00_T1w"]
    page.get_by_label("least value of the figure").fill("-30")
    page.get_by_label("greatest value of the figure").fill("")
    assert names.count() == 3


def test_the_words_to_cite_are_copied(browser: Any, pages: Path, cohort_view: CohortView) -> None:
    words = Citation("Scans were restored with isovox [1].", ("isovox, version 1.", "A paper. doi:10.1/x"))
    (pages / "cited.html").write_text(cohort_page(dataclasses.replace(cohort_view, citation=words)), encoding="utf-8")
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto((pages / "cited.html").as_uri())
    page.get_by_role("button", name="Copy the paragraph").click()
    page.get_by_text("Copied.").or_(page.get_by_text("Selected: press")).wait_for()
    copied = page.evaluate("navigator.clipboard.readText().catch(() => getSelection().toString())")
    context.close()
    assert copied.splitlines()[0] == words.paragraph
    assert copied.splitlines()[-1].endswith("A paper. doi:10.1/x")


def test_the_table_sorts_by_keyboard(opened: Open) -> None:
    page = as_table(opened(COHORT))
    head = page.get_by_role("columnheader", name="Consistency")
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert page.get_by_role("columnheader", name="Scan").get_attribute("aria-sort") == "none"
    names = page.locator("#table tbody th").all_inner_texts()
    assert names == [f"sub-{n:02}_T1w" for n in (10, 5, 4, 3, 2, 1)] + ["sub-99_T1w"]
    page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "descending"
    names = page.locator("#table tbody th").all_inner_texts()
    assert names == [f"sub-{n:02}_T1w" for n in (1, 2, 3, 4, 5, 10)] + ["sub-99_T1w"]  # what has no figure stays last


def test_the_table_filters_by_state_and_text(opened: Open) -> None:
    page = as_table(opened(COHORT))
    page.get_by_label("done (4)").check()
    assert page.get_by_role("status").inner_text() == "4 of 7 shown"
    assert page.locator("#table tbody tr:visible").count() == 4
    page.get_by_label("all (7)").check()
    page.get_by_label("Name or reason contains").fill("expected a SCAN")
    assert page.locator("#table tbody th:visible").all_inner_texts() == ["sub-99_T1w"]


def test_a_rating_is_kept_told_on_both_pages_and_leaves_a_scan_out(opened: Open, tmp_path: Path) -> None:
    page = opened(COHORT)
    page.get_by_role("button", name="reject sub-01_T1w").click()
    page.get_by_label("remark on sub-01_T1w").fill("ghost\tover the pons")
    assert page.locator("#rated-count").inner_text() == "1 rated: 0 keep, 0 doubt, 1 reject."
    page.reload()
    assert page.get_by_role("button", name="reject sub-01_T1w").get_attribute("aria-pressed") == "true"
    page.select_option("#rated", "reject")
    assert page.locator(".tile:visible").count() == 1
    with page.expect_download() as download:
        page.get_by_role("button", name="Save ratings.tsv").click()
    download.value.save_as(tmp_path / "ratings.tsv")
    ratings = read_ratings(str(tmp_path / "ratings.tsv"))
    assert ratings == [Rating("study", "sub-01_T1w", "reject", "ghost over the pons")]
    placed = by_site(ratings, {"a": ["study"], "b": ["other"]}, {"a": ["sub-01_T1w"], "b": ["sub-01_T1w"]})
    assert list(placed) == ["a"]
    page.locator(".tile img:visible").click()
    page.locator("#remark").wait_for()
    page.locator("input[value=reject]:checked").wait_for()  # once its script has run
    assert page.locator("#remark").input_value() == "ghost\tover the pons"


def test_without_pictures_beside_it_the_page_shows_its_table(opened: Open, pages: Path, cohort_view: CohortView) -> None:
    (pages / "bare.html").write_text(cohort_page(dataclasses.replace(cohort_view, thumbnails={})), encoding="utf-8")
    page = opened("bare.html")
    assert page.locator("#table").is_visible()
    assert not page.locator("#mosaic").is_visible()


@pytest.mark.slow
def test_a_thousand_scans_are_a_page_of_3_mb_that_answers_at_once(opened: Open, pages: Path, cohort_view: CohortView) -> None:
    quality = cohort_view.records[1].quality
    records = [ScanRecord(key=f"sub-{n:04}_T1w", state="done", quality=quality, metrics={"psnr": n / 9}) for n in range(1000)]
    links = {record.key: f"reports/{record.key}.html" for record in records}
    pictures = {record.key: "reports/sub-01_T1w/thumbnail.webp" for record in records}
    facts = {record.key: {"contrast": "T1w", "site": "oslo"} for record in records}
    view = dataclasses.replace(cohort_view, records=records, links=links, viewers=links, thumbnails=pictures, facts=facts)
    text = cohort_page(view)
    assert len(text.encode()) < 3_000_000
    (pages / "large.html").write_text(text, encoding="utf-8")
    page = opened("large.html")
    assert page.locator(".tile").count() == 1000
    took = page.evaluate(
        """() => {
          const start = performance.now();
          document.getElementById("down").click();
          return performance.now() - start;
        }"""
    )
    assert page.locator(".tile .name").first.text_content() == "sub-0999_T1w"
    assert took < 2000
