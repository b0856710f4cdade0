"""The pages as a researcher uses them: fill the form, start a run, see it finish, open its report, cancel another."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from infra.programs import START
from infra.services import start_mlflow
from tests.browser.conftest import browser, chromium  # noqa: F401 - fixtures
from tests.deployments.cohorts import phantoms
from tests.deployments.conftest import Group, end, start_worker

pytestmark = pytest.mark.slow
PATIENCE = 120_000  # ms
LONG = {"method": "unires", "method_options": {"tolerance": 0.0}, "voxel_size": 0.5}


@pytest.fixture(scope="module")
def mlflow(group: Group) -> Iterator[str]:
    """A tracking server, known to the group."""
    service = start_mlflow(group.folder / "mlflow")
    try:
        service.wait_healthy(START)
        group.environment["MLFLOW_TRACKING_URI"] = service.url
        yield service.url
    finally:
        del group.environment["MLFLOW_TRACKING_URI"]
        service.stop()


@pytest.fixture(scope="module")
def working(group: Group, mlflow: str) -> Iterator[None]:
    """Deployments and a worker that know of MLflow."""
    group.deploy()
    process = start_worker(group)
    yield
    end(process)


@pytest.fixture
def page(browser: Any, group: Group, mlflow: str) -> Iterator[Any]:  # noqa: F811 - a fixture
    """A page; afterwards no host but ours may have been asked."""
    asked: set[str] = set()
    with closing(browser.new_context(viewport={"width": 1300, "height": 1200})) as context:
        context.set_default_timeout(PATIENCE)
        context.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
        yield context.new_page()
    assert asked - {""} <= {urlsplit(group.url).netloc, urlsplit(mlflow).netloc}


def open_form(page: Any, group: Group) -> Any:
    made = group.deployment("reprocess-cohort/reprocess-cohort")["id"]
    page.goto(f"{group.url}/deployments/deployment/{made}/run")
    page.get_by_text("Method (Optional)", exact=True).wait_for()
    return page.locator("textarea")


def test_from_the_form_to_the_report(page: Any, group: Group, working: None, tmp_path: Path) -> None:
    source, out = phantoms(tmp_path / "bids", 1), tmp_path / "out"
    before = group.ask("flow_runs/count", {})
    texts = open_form(page, group)
    texts.nth(0).fill("bids")
    texts.nth(1).fill(str(out))
    page.get_by_role("button", name="Submit").click()
    page.get_by_text("Validation failed for field 'settings.input'").first.wait_for()
    assert group.ask("flow_runs/count", {}) == before

    texts.nth(0).fill(str(source))
    page.get_by_role("button", name="Submit").click()
    (run,) = group.wait(lambda: group.ask("flow_runs/filter", {"sort": "EXPECTED_START_TIME_DESC", "limit": 1}))
    page.goto(f"{group.url}/runs/flow-run/{run['id']}")
    page.get_by_text("Completed", exact=True).first.wait_for()
    assert group.run(run["id"])["parameters"]["settings"]["input"] == str(source)

    page.get_by_text("Artifacts", exact=True).first.click()
    page.get_by_text("every scan, and how far it can be trusted").click()
    link = page.get_by_role("link", name="report of the cohort")
    link.wait_for()
    page.goto(link.get_attribute("href"))
    report = page.frame_locator("iframe")
    report.get_by_role("heading", name="bids", level=1).wait_for()
    assert report.get_by_text("sub-01_T1w").first.is_visible()


def test_the_options_of_a_method_are_filled_in_by_name(page: Any, group: Group, working: None, tmp_path: Path) -> None:
    before = group.ask("flow_runs/count", {})
    texts = open_form(page, group)
    texts.nth(0).fill(str(phantoms(tmp_path / "bids", 1)))
    texts.nth(1).fill(str(tmp_path / "out"))
    page.get_by_role("button", name="unires", exact=True).click()
    rounds = page.locator(".schema-form-property", has_text="Iterations (Optional)").last
    rounds.get_by_text("rounds of ADMM at most; few are best: the optimum is a staircase (default: 10)").wait_for()
    rounds.locator("input").fill("3")
    page.get_by_role("button", name="Submit").click()  # while the method is still another one
    page.get_by_text("Validation failed for field 'settings.method_options'").first.wait_for()
    assert group.ask("flow_runs/count", {}) == before

    page.locator(".schema-form-property", has_text="Method (Optional)").last.locator("button.p-select-button__control").focus()
    page.keyboard.press("ArrowDown")
    page.locator(".p-select-option", has_text="unires").click()
    page.get_by_role("button", name="Submit").click()
    group.wait(lambda: group.ask("flow_runs/count", {}) > before)
    (run,) = group.ask("flow_runs/filter", {"sort": "EXPECTED_START_TIME_DESC", "limit": 1})
    settings = run["parameters"]["settings"]
    assert settings["method"] == "unires"
    assert settings["method_options"] == {"iterations": 3, "scaling": True}  # a form says its switches


def test_a_run_is_cancelled_on_its_page(page: Any, group: Group, working: None, tmp_path: Path) -> None:
    source, out = phantoms(tmp_path / "bids", 4, 64), tmp_path / "out"
    run = group.start("reprocess-cohort/reprocess-cohort", settings={"input": str(source), "out": str(out)} | LONG)
    group.wait(lambda: list((out / "isovox").glob("cohort.zarr/*/measured/zarr.json")))
    page.goto(f"{group.url}/runs/flow-run/{run}")
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Confirm").click()
    began = time.monotonic()
    group.wait(lambda: not (out / "isovox" / "lock.json").exists(), 30)
    page.get_by_text("Cancelled", exact=True).first.wait_for()
    print(f"cancelled on the page after {time.monotonic() - began:.1f} s")  # noqa: T201
    assert group.run(run)["state"]["type"] == "CANCELLED"


def shown(page: Any) -> tuple[list[str], list[str]]:
    """What the fields of a form say."""
    fields = page.locator(".schema-form-property")
    fields.first.wait_for()
    return tuple([each.input_value() for each in fields.locator(kind).all()] for kind in ("textarea", "input[type=number]"))  # type: ignore[return-value]


def test_a_cohorts_form_shows_its_own_settings_and_keeps_them_as_json_and_back(
    page: Any, group: Group, working: None, tmp_path: Path
) -> None:
    source, out = phantoms(tmp_path / "bids", 1), tmp_path / "out"
    own = ["--method", "unires", "--voxel-size", "0.7", "--method-options", "iterations=3", "--workers", "4", "--cron", ""]
    group.deploy("--cohort", f"own={source}={out}", *own)
    page.goto(f"{group.url}/deployments/deployment/{group.deployment('reprocess-cohort/own')['id']}/run")
    page.get_by_text("Method (Optional)", exact=True).wait_for()
    page.get_by_text("Tracking server (Optional)").or_(page.get_by_text("Quality (Optional)")).first.wait_for()
    before = shown(page)
    assert {str(source), str(out)} <= set(before[0])
    assert {"0.7", "3", "4"} <= set(before[1])
    menu = page.locator("text=Parameters >> xpath=.. >> button").first
    for kind in ("JSON", "form"):
        menu.click()
        page.get_by_text(f"Use {kind} input").first.click()
    page.get_by_text("Method (Optional)", exact=True).wait_for()
    assert shown(page) == before
    page.get_by_role("button", name="Submit").click()
    made = {"deployments": {"name": {"any_": ["own"]}}}
    (run,) = group.wait(lambda: group.ask("flow_runs/filter", made))
    settings = run["parameters"]["settings"]
    assert (settings["method"], settings["voxel_size"], settings["compute"]["workers"]) == ("unires", 0.7, 4)
    assert settings["method_options"]["iterations"] == 3
    assert group.ended(run["id"])["state"]["type"] == "COMPLETED"
