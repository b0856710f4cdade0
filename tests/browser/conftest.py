"""A headless browser, and pages as a run would leave them on disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.report import CohortView, ScanView, cohort_page, niivue, scan_page, thumbnail, viewer_of

QUIET = "--no-sandbox --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
SOFTWARE_GL = "--use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Callable[..., Any]]:
    """Starts browsers; tests skip where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs chromium on the PATH")
    with sync_api.sync_playwright() as driver:
        yield lambda *options: driver.chromium.launch(executable_path=path, args=[*QUIET.split(), *options])


@pytest.fixture(scope="module")
def browser(chromium: Callable[..., Any]) -> Any:
    """One that cannot draw in 3-D."""
    return chromium("--disable-gpu", "--disable-3d-apis")


@pytest.fixture(scope="module")
def graphic_browser(chromium: Callable[..., Any]) -> Any:
    """One that draws in 3-D, by software."""
    return chromium(*SOFTWARE_GL.split())


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory, scan_view: ScanView, cohort_view: CohortView) -> Path:
    """A folder with the pages of a run."""
    out = tmp_path_factory.mktemp("out")
    (out / "reports").mkdir()
    (out / "report.html").write_text(cohort_page(cohort_view), encoding="utf-8")
    (out / "reports" / "sub-01_T1w.html").write_text(scan_page(scan_view), encoding="utf-8")
    (out / "reports" / "niivue.js").write_bytes(niivue())
    viewer = viewer_of(scan_view)
    (out / "reports" / "sub-01_T1w_viewer.html").write_text(viewer.page, encoding="utf-8")
    (out / "reports" / "scans.js").write_text('isovox.scans(["sub-01_T1w", "sub-02_T1w"]);\n')
    (out / "reports" / "sub-01_T1w").mkdir()
    (out / "reports" / "sub-01_T1w" / "thumbnail.webp").write_bytes(thumbnail(scan_view))
    for name, script in viewer.scripts.items():
        (out / "reports" / "sub-01_T1w" / f"{name}.js").write_text(script)
    return out


@pytest.fixture
def opened(browser: Any, pages: Path) -> Iterator[Callable[..., Any]]:
    """Opens a page from disk; afterwards no request may have left it and no error may have been told."""
    yield from opener(browser, pages)


@pytest.fixture
def drawn(graphic_browser: Any, pages: Path) -> Iterator[Callable[..., Any]]:
    """As ``opened``, in the browser that draws in 3-D."""
    yield from opener(graphic_browser, pages)


def opener(browser: Any, pages: Path) -> Iterator[Callable[..., Any]]:
    contexts, asked, errors = [], [], []

    def open_page(name: str, **options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto((pages / name).as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    elsewhere = [url for url in asked if not url.startswith(("data:", "blob:", pages.as_uri()))]
    assert elsewhere == []
    assert errors == []
