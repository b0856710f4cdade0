"""What of an output's files MLflow keeps: pages as copies without links, for nothing that they lead to lies beside them there."""

from __future__ import annotations

import html
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from core.io import files

if TYPE_CHECKING:
    from mlflow import MlflowClient

LINK = re.compile(r'<a\b[^>]*\bhref="(?!#|data:|https?:)[^"]*"[^>]*>(.*?)</a>', re.DOTALL)  # to another file
BESIDE = re.compile(r' data-(?:picture|viewer)="[^"]*"')  # addresses by which a cohort's page shows and opens scans
BANNER = re.compile(r'<p class="banner"[^>]*>.*?</p>')


def send(client: MlflowClient, run_id: str, uri: str) -> None:
    """Add a file to a run; one that was removed since cannot be sent.

    Args:
        client: of MLflow.
        run_id: of the run.
        uri: of the file, a path or s3://….
    """
    page, here = uri.endswith(".html"), not files.is_remote(uri)
    if here and not Path(uri).exists():
        return
    if here and not page:
        client.log_artifact(run_id, uri)
        return
    content = files.read_bytes(uri)
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder, files.name_of(uri))
        local.write_bytes(alone(content.decode(), uri).encode() if page else content)
        client.log_artifact(run_id, str(local))


def alone(page: str, uri: str) -> str:
    """A page's text for where nothing lies beside it: links to other files as plain words, and a line that says where it lies.

    Args:
        page: HTML; one without such links stays as it is.
        uri: of the page in the output; the names of its folder and of itself are told, not what is above them.
    """
    bare, links = LINK.subn(r"<span>\1</span>", page)
    if not links:
        return page
    place = html.escape(f"{files.name_of(files.parent_of(uri))}/{files.name_of(uri)}")
    note = f'<p id="copy">This is a copy. The page that leads to the other pages and files lies in the output: {place}.</p>'
    return BANNER.sub(lambda banner: banner[0] + note, BESIDE.sub("", bare), count=1)
