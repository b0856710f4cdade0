"""The page of a harmonisation: its findings are those of the numbers, its text is escaped, nothing comes from outside."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.harmonize.features import NAMES
from core.harmonize.tables.combat import Combat
from core.harmonize.tables.sites import Accuracy
from core.harmonize.tables.table import Features
from core.harmonize.tables.variance import explained
from tasks.report import harmonize
from tasks.report.citation import Citation
from tasks.report.harmonize import ByCombat, Telling, _histograms, _keys, write_page
from tasks.report.shares import Verdict, _judge, shares_of
from tests.core.harmonize.tables.sites import cohort
from tests.tasks.report.test_report import Page

EDGES = np.linspace(0, 10, 51)


@pytest.fixture(autouse=True)
def few_deals(monkeypatch: pytest.MonkeyPatch) -> None:
    """As few random deals as give a p below 0.05 where sites differ."""
    real = harmonize.site_accuracy

    def fewer(*args, permutations=20, classifier="linear", **options):
        return real(*args, permutations=1 if classifier == "forest" else permutations, classifier=classifier, **options)

    monkeypatch.setattr(harmonize, "site_accuracy", fewer)


def histograms(shift: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    draw = np.random.default_rng(0)
    return {
        site: (EDGES, np.histogram(draw.normal(4 + shift * n, 1, 3000 * (n + 1)), EDGES)[0])
        for n, site in enumerate(("a", "b", "c"))
    }


def tables() -> tuple[Features, Features]:
    before = cohort({"a": 20, "b": 15, "c": 12}, features=6, shifts={"a": 0.0, "b": 6.0, "c": -4.0})
    before = replace(before, names=NAMES[:6])
    return before, Combat.fit(before).apply(before)


def page_of(tmp_path: Path, before: Features, after: Features, flags: dict[str, str] | None = None, **options: object) -> str:
    uri = write_page(str(tmp_path), before, after, histograms(1.0), histograms(0.0), flags or {}, **options)
    assert uri == f"{tmp_path}/report.html"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    return Path(uri).read_text(encoding="utf-8")


def test_what_is_the_restorations_tells_no_site_of_the_volumes(tmp_path: Path) -> None:
    """Two sites whose volumes are alike and whose restorations differ: nothing is told from the volumes."""
    alike = cohort({"a": 20, "b": 20, "c": 12}, features=4)
    before = replace(alike, names=(*NAMES[:3], "consistency"), values=alike.values.copy())
    values = before.values.copy()
    values[:, 3] += [50.0 * (site == "b") for site in before.site]
    before = replace(before, values=values)
    assert harmonize.site_accuracy(before, seed=0).told
    text = page_of(tmp_path, before, before)
    share = round(100 * harmonize.site_accuracy(before.only(NAMES[:3]), seed=0).balanced)
    assert f"told the site of {share}\N{NO-BREAK SPACE}% of the scans before" in text
    assert "<dt>Features</dt><dd>3 of the image</dd>" in text
    text = page_of(tmp_path, before, before, between=before, combat=ByCombat(changed=before.names))
    assert "that ComBat changed</dt><dd>3 of the image and 1 of the restoration&#39;s quality</dd>" in text


def test_the_page_tells_what_the_numbers_say(tmp_path: Path) -> None:
    before, after = tables()
    text = page_of(tmp_path, before, after, between=before)
    parsed = Page(text)
    share = round(100 * harmonize.site_accuracy(before, seed=0).balanced)
    assert share >= 90
    assert f"From the volumes a linear classifier told the site of {share}\N{NO-BREAK SPACE}% of the scans before" in text
    assert f"before and of {share}\N{NO-BREAK SPACE}% after (a random forest" in text  # no table makes the volumes better
    assert "from the table after ComBat it told" in text
    assert re.search(r"What still gives the site away in the volumes: <code>.*\(the site explains \d+ % of the variance", text)
    forest = round(100 * harmonize.site_accuracy(before, classifier="forest", seed=0).balanced)
    names = re.findall(r'<text class="name" x="12" y="([\d.]+)"', text.partition("</svg>")[0])
    chance = re.findall(r'<line class="limit" .*y1="([\d.]+)" y2="([\d.]+)"', text.partition("</svg>")[0])
    assert [(float(y) + 3, float(y) + 17) for y in names] == [(float(top), float(end)) for top, end in chance]  # below each name
    assert f"(a random forest {forest}\N{NO-BREAK SPACE}% and" in text
    assert "guessing among 3 sites gives 33\N{NO-BREAK SPACE}%." in text
    assert '<span class="verdict pass">gone</span>' in text
    assert text.count('<span class="verdict pass">kept</span>') >= 1
    assert '<span class="verdict">below chance</span>' in text  # the features as written prove nothing
    assert "age and sex alone" in text
    assert parsed.tags.count("polyline") == 6
    assert "grey matter of grey and white matter" in text
    assert all(f"<code>{name}</code>" in text for name in NAMES[:6])
    assert parsed.tags.count("h1") == 1


def test_a_given_combat_is_not_held_out_and_says_so(tmp_path: Path) -> None:
    before, after = tables()
    text = page_of(tmp_path, before, after, between=before, combat=ByCombat(given=True))
    assert "by the model" in text
    assert "fitted without it" not in text
    assert "table as written" not in text
    share = round(100 * harmonize.site_accuracy(after, seed=0).balanced)
    assert f"from the table after ComBat it told {share}\N{NO-BREAK SPACE}%" in text


def test_effects_of_age_and_sex_within_the_sites_have_intervals(tmp_path: Path) -> None:
    before, after = tables()
    text = page_of(tmp_path, before, after, between=before)
    share = explained(before)["age"][NAMES[0]]
    assert "{:+.2f} ({:+.2f} to {:+.2f})".format(*share.correlation).replace("-", "\N{MINUS SIGN}") in text
    assert "Effects within the sites" in text
    turned = after.with_values(-after.values)
    assert ">differ</span>" in page_of(tmp_path, before, turned, between=before)
    assert ">differ</span>" not in text


def test_with_combat_shares_and_effects_are_of_three_tables(tmp_path: Path) -> None:
    before, after = tables()
    volumes = before.with_values(before.values[:, ::-1])
    text = page_of(tmp_path, before, after, between=volumes)
    made = shares_of({"restored": before, "harmonised": volumes, "table": after})
    assert made["stages"] == ["restored", "harmonised", "table"]
    for n, table in enumerate((before, volumes, after)):
        shares = explained(table)["age"]
        line = next(line for line in made["effects"] if (line.factor, line.name) == ("age", NAMES[0]))
        assert line.texts[n] == "{:+.2f} ({:+.2f} to {:+.2f})".format(*shares[NAMES[0]].correlation).replace(
            "-", "\N{MINUS SIGN}"
        )
        assert line.texts[n] in text
        assert made["totals"][1].mean[n] == f"{100 * np.mean([share.partial for share in shares.values()]):.1f}"
    assert [verdict.text for verdict in made["totals"][0].verdicts] == ["left in 6", "gone"]
    assert '<th scope="col" class="number">table</th>' in text
    assert '<th scope="col" class="number">table</th>' not in page_of(tmp_path, before, after)


@pytest.mark.parametrize("intercept", [False, True])
def test_how_several_scans_of_a_person_weigh_is_as_combat_was_fitted(tmp_path: Path, *, intercept: bool) -> None:
    before, after = tables()
    text = page_of(tmp_path, before, after, between=before, combat=ByCombat(intercept=intercept))
    assert ("Several scans of a person weigh as several persons" in text) is not intercept
    assert ("an intercept for each person" in text) is intercept


def test_sites_that_are_left_are_not_called_gone(tmp_path: Path) -> None:
    before, _ = tables()
    text = page_of(tmp_path, before, before)
    assert "left in 6" in text
    assert ">gone<" not in text
    assert "below chance" not in text
    assert '<span class="verdict fail">told</span>' in text


def test_nothing_comes_from_outside_and_all_text_is_escaped(tmp_path: Path) -> None:
    before, after = tables()
    evil = "<script>alert(1)</script>"
    site = tuple(evil if one == "a" else one for one in before.site)
    flags = {before.scans[0]: f"{evil} in /home/someone/data/scan.nii.gz"}
    cited = Citation(f"By {evil}.", (evil,))
    pages = [page_of(tmp_path, replace(before, site=site), replace(after, site=site), flags, notes=[evil], citation=cited)]
    pages.append(page_of(tmp_path, replace(before, site=site), replace(after, site=site), flags, notes=[evil]))
    assert evil not in pages[0]
    assert "Words to cite" in pages[0]
    text = pages[1]
    parsed = Page(text)
    assert evil not in text
    assert "script" not in parsed.tags
    assert "/home/someone" not in text
    assert "…/scan.nii.gz" in text
    assert all(address.startswith(("#", "data:")) for address in parsed.addresses())


def test_ids_are_there_once(tmp_path: Path) -> None:
    ids = [value for name, value in Page(page_of(tmp_path, *tables())).attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {"main", "told", "flagged", "sites"} <= set(ids)


def test_every_scan_to_be_taken_with_care_is_there_with_its_reason(tmp_path: Path) -> None:
    before, after = tables()
    flags = {before.scans[3]: "age unknown, mean taken", "c/sub-900": "failed: no brain", before.scans[4]: ""}
    text = page_of(tmp_path, before, after, flags)
    assert f'<th scope="row">{before.scans[3]}</th><td>a</td><td>age unknown, mean taken</td>' in text
    assert '<th scope="row">c/sub-900</th><td>–</td><td>failed: no brain</td>' in text
    assert '<dt>Scans to be taken with care</dt><dd><a href="#flagged">2</a>' in text  # flagged, by the run's count, is neither
    assert "Flagged scans" not in text
    assert "<dd>none</dd>" in page_of(tmp_path, before, after)


def test_cohorts_that_cannot_be_told_apart_still_get_a_page(tmp_path: Path) -> None:
    before, after = tables()
    one = before.rows(["a"])[:3]
    text = page_of(tmp_path, before.select(one), after.select(one))
    assert "was not tried" in text
    assert "classifier-sites" in text
    none = before.only([])
    assert "Nothing to tell" in page_of(tmp_path, none, none)
    single = before.select([0])
    assert "Harmonisation" in page_of(tmp_path, single, single, {before.scans[0]: "alone"})


def test_confounded_covariates_leave_the_page_whole(tmp_path: Path) -> None:
    before, after = tables()
    by_site = tuple("F" if site == "a" else "M" for site in before.site)
    table = replace(before, covariates={"age": before.covariates["age"], "sex": by_site})
    text = page_of(tmp_path, table, after, between=table)
    assert "covariate-confounded" in text
    assert "was not tried" in text


def test_unknown_persons_are_counted(tmp_path: Path) -> None:
    before, after = tables()
    ages = tuple(None if n < 5 else age for n, age in enumerate(before.covariates["age"]))
    text = page_of(tmp_path, before, replace(after, covariates={"age": ages}))
    assert "(5 unknown)" in text
    assert "<td>unknown</td>" in text


def test_histograms_are_densities_on_one_axis() -> None:
    """A site of ten times the voxels has the same line; a site of finer bins too."""
    counts = np.array([0.0, 4, 2, 0])
    coarse, fine = np.arange(5.0), np.arange(0, 4.5, 0.5)
    (chart,) = _histograms({"x": (coarse, counts), "y": (coarse, 10 * counts), "z": (fine, np.repeat(counts, 2))}, {})
    lines = {curve.name: [float(point.split(",")[1]) for point in curve.points.split()] for curve in chart.curves}
    x, y, z = (lines[key] for key in ("site-0 dash-0", "site-1 dash-0", "site-2 dash-0"))
    assert x == y
    assert z == [x[0], x[0], x[1], x[1]]
    assert (chart.ticks[0].text, chart.ticks[-1].text) == ("1.0", "3.0")  # nothing lies beyond


def test_a_long_tail_does_not_squeeze_the_drawing() -> None:
    edges = np.arange(0, 1001.0)
    counts = np.concatenate([np.full(100, 1000.0), np.zeros(899), [5]])
    (chart,) = _histograms({"x": (edges, counts)}, {})
    assert chart.ticks[-1].text == "100"


def test_many_sites_are_told_apart_by_dashes() -> None:
    keys = _keys([f"site {n:02d}" for n in range(24)])
    assert len(set(keys.values())) == 24


def test_empty_histograms_are_drawn_as_nothing() -> None:
    (chart,) = _histograms({"x": (np.array([0.0, 1.0]), np.array([0.0]))}, {})
    assert "nan" not in chart.curves[0].points
    assert _histograms({}, {}) == []


@pytest.mark.parametrize(
    ("factor", "mean", "sure", "verdict"),
    [
        ("site", (0.8, 0.01), (6, 0), ("gone", True)),
        ("site", (0.8, 0.1), (6, 2), ("left in 2", False)),
        ("site", (0.1, 0.8), (0, 2), ("left in 2", False)),
        ("site", (0.3, 0.3), (0, 0), ("too weak to tell", None)),  # it was never surely there
        ("age", (0.3, 0.25), (5, 5), ("kept", True)),
        ("age", (0.3, 0.2), (5, 3), ("weaker", False)),
        ("sex", (0.02, 0.01), (0, 0), ("too weak to tell", None)),
        ("sex", (None, 0.1), (0, 0), ("not to be told", None)),
    ],
)
def test_verdicts(factor: str, mean: tuple, sure: tuple, verdict: tuple) -> None:
    assert _judge(factor, mean, sure) == Verdict(*verdict)


def test_one_site_alone_is_not_said_to_give_nothing_away_and_units_are_those_of_the_scans(tmp_path: Path) -> None:
    before, after = tables()
    text = page_of(tmp_path, before, after, between=after)
    assert "No feature of the volumes after gives the site away" in text
    assert ">common scale<" in text
    assert "common scale" not in page_of(tmp_path, before, after, scaled=False)
    alone = before.select(before.rows(["a"]))
    text = page_of(tmp_path, alone, alone)
    assert "gives the site away" not in text


def test_a_handful_of_scans_shows_nothing_either_way(tmp_path: Path) -> None:
    """Each scan is told rightly, as by chance one time in twenty: no success, and said so in the headline too."""
    differing = cohort({"a": 4, "b": 4}, features=3, shifts={"a": 0.0, "b": 9.0})
    before = replace(differing, names=NAMES[:3], covariates={})
    found = harmonize.site_accuracy(before, seed=0, permutations=99)
    assert found.balanced == 1
    text = page_of(tmp_path, before, before)
    assert '<span class="verdict">too few scans to say</span>' in text
    assert ">not told<" not in text
    assert "too few scans to say whether the site can still be told from the volumes." in text


@pytest.mark.parametrize(
    ("balanced", "interval", "null", "p", "verdict"),
    [
        (1.0, (1.0, 1.0), (0.2, 0.8), 0.01, ("told", False)),
        (0.7, (0.55, 0.85), (0.3, 0.7), 0.06, ("too few scans to say", None)),  # the interval lies above chance
        (0.75, (0.37, 1.0), (0.11, 0.88), 0.21, ("too few scans to say", None)),  # it may be that all are told
        (0.0, (0.0, 0.0), (0.0, 1.0), 1.0, ("too few scans to say", None)),  # by chance all may be right
        (0.55, (0.45, 0.65), (0.4, 0.6), 0.2, ("not told", True)),
        (0.3, (0.2, 0.51), (0.4, 0.6), 1.0, ("below chance", None)),
        (0.41, (0.35, 0.47), (0.4, 0.6), 0.99, ("below chance", None)),
    ],
)
def test_a_site_is_not_told_only_where_enough_scans_say_so(balanced, interval, null, p, verdict) -> None:
    found = Accuracy(("a", "b"), (), 8, 4, balanced, 0.5, null, p, ((4, 0), (0, 4)), interval)
    assert Telling("volumes after", "linear", "", found).verdict == Verdict(*verdict)
