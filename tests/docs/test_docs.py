"""The documentation: a page a method, a remedy for every error, and nothing that asks another host."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import yaml

from core import __version__
from core.methods import registry
from tests.benchmarks.pictures import pictured

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "site"
RAISED = re.compile(r'\w+Error\(\s*"([a-z0-9]+(?:-[a-z0-9]+)+)"')
built = pytest.mark.skipif(not (SITE / "index.html").exists(), reason="the documentation is not built: make docs")


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate_docs"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow  # imports the code of all methods
def test_every_method_has_a_page_that_says_when_what_it_costs_and_whence(generate):
    pages = generate.pages()
    for name, entry in registry.methods().items():
        page = pages[f"methods/{name}.md"]
        for heading in ("When to take it", "What it costs", "What was measured", "Options", "Source"):
            assert f"## {heading}\n" in page
        assert entry.source in page
        assert all(reference.doi in page for reference in registry.references_of(name))
        assert f"({name}.md)" in pages["methods/index.md"]
        assert ("No picture: " in page) != (f"../pictures/{name}.jpg" in page)
    assert all(f"../pictures/{name}.jpg" in pages[f"methods/{name}.md"] for name in pictured())
    assert "no trained weights come with it; `isovox train esrgan-3d SHARP`" in pages["methods/esrgan-3d.md"]
    assert "+2.47" in pages["methods/resunet-3d.md"]
    assert "30.47" in pages["methods/unires.md"]
    assert "| `wdsr-si` | 31.2 / 0.838 |" in pages["methods/wdsr-si.md"]


def test_measured_figures_stand_on_the_pages_of_their_methods_under_their_heads(generate):
    (told,) = generate._rows_of("pixel-zoom")
    lines = told.splitlines()
    assert lines[2].startswith("| method | new slices, dB / SSIM |")
    assert lines[4].startswith("| `pixel-zoom` | 28.6 / 0.749 |")
    assert len(lines) == 5
    assert generate._rows_of("kernelgan-zssr") == []


def test_every_error_that_is_raised_by_name_has_its_remedy(generate):
    raised = {
        code
        for layer in generate.LAYERS
        for path in (ROOT / layer).rglob("*.py")
        for code in RAISED.findall(path.read_text(encoding="utf-8"))
    }
    faults, page = generate.faults(), generate.errors_page()
    assert len(raised) > 200
    assert raised <= faults.keys()
    assert all(f"### `{code}`" in page for code in raised)
    told = [code for code, places in faults.items() if any(fault.remedy.strip("…") for fault in places)]
    assert len(told) > 0.97 * len(faults)


def test_what_is_typed_stays_as_it_is_typed_and_nothing_is_said_of_nothing(generate):
    assert generate._sentence("isovox models import … FILE…").startswith("isovox models")
    assert generate._sentence("run_fastsurfer.sh on the PATH").startswith("run_fastsurfer.sh")
    assert generate._sentence("wait for it to end") == "Wait for it to end"
    assert generate._line(generate.Fault("…", "wait")) == "- **Wait.**\n"
    assert generate._line(generate.Fault("a scan", "…")) == "- Expected: A scan.\n"
    assert "As the message says" not in generate.errors_page()


def test_the_fields_of_a_record_are_explained(generate):
    table = generate.record_fields()
    fields = ("key", "state", "reason", "code", "digest", "plan_digest", "inputs", "outputs", "quality", "metrics", "seconds")
    assert all(f"| `{field}` | " in table for field in fields)


def test_every_table_that_a_page_names_is_filled_in(generate):
    pages = [*(ROOT / "docs").rglob("*.md")]
    filled = {page.name: generate.on_page_markdown(page.read_text(encoding="utf-8")) for page in pages}
    assert not any("{{" in text for text in filled.values())
    assert all(f"| `{name}` | " in filled["evaluate.md"] for name in registry.protocols())


@built
def test_pages_ask_no_other_host_for_anything():
    fetched = re.compile(
        r"""<(?:script|img|iframe|source|video)\b[^>]*\bsrc=["'](?:https?:)?//|@import|url\(["']?(?:https?:)?//"""
    )
    linked = re.compile(r"""<link\b(?![^>]*rel=["']?(?:canonical|next|prev))[^>]*href=["']?(?:https?:)?//""")
    pages = sorted(SITE.rglob("*.html"))
    assert len(pages) > len(registry.methods()) + 10
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not fetched.search(text), page
        assert not linked.search(text), page
        assert "google" not in text


def test_isovox_can_be_cited_as_it_is():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "version", "license"} <= cited.keys()
    assert cited["version"] == __version__
