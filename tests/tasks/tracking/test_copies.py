"""A page that MLflow keeps leads nowhere: what it led to is words, all else is as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.tracking.copies import alone, send

BANNER = '<p class="banner" role="note">For research.</p>'


class Client:
    """Of MLflow: keeps what it is sent."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def log_artifact(self, run_id: str, path: str) -> None:
        self.texts[f"{run_id}/{Path(path).name}"] = Path(path).read_text()


def test_links_to_other_files_become_words_and_where_the_page_lies_is_said() -> None:
    links = '<a class="button" href="../sub-01.nii.gz" download>Image</a><a\nhref="reports/a.html">A <b>b</b></a>'
    kept = '<a href="#main">Down</a><img src="data:image/webp;base64,AA"><a id="next" hidden>next</a>'
    row = '<tr data-state="done" data-picture="reports/a/thumbnail.webp" data-viewer="reports/a_viewer.html">'
    text = alone(f"{BANNER}{links}{kept}{row}", "/home/someone/out & co/report.html")
    where = "The page that leads to the other pages and files lies in the output: out &amp; co/report.html."
    note = f'<p id="copy">This is a copy. {where}</p>'
    assert text == f'{BANNER}{note}<span>Image</span><span>A <b>b</b></span>{kept}<tr data-state="done">'
    assert alone(f"{BANNER}{kept}", "out/report.html") == f"{BANNER}{kept}"


def test_pages_are_sent_as_copies_and_other_files_as_they_are(tmp_path: Path) -> None:
    client: Any = Client()
    for name in ("page.html", "table.csv"):
        (tmp_path / name).write_text('<a href="CITATION.md">words</a>')
        send(client, "r", str(tmp_path / name))
    send(client, "r", str(tmp_path / "removed.html"))
    assert client.texts == {"r/page.html": "<span>words</span>", "r/table.csv": '<a href="CITATION.md">words</a>'}
