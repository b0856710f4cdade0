"""The pages of a blind reading, served on this machine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial

from core.errors import UsageError
from core.io import files
from infra.local_pages import LocalPages, Request, Response
from tasks.reading.folder import ReadingFolder
from tasks.reading.pages import page

PICTURE = re.compile(r"/series/([0-9a-f]{12})/(\d{1,3})\.png")
HTML = "text/html; charset=utf-8"


def serve(uri: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve a reading until the process is told to stop.

    Args:
        uri: its folder.
        port: on loopback; 0 for any that is free.
        ready: hears the address.

    Raises:
        UsageError: reading-missing, reading-remote, port-taken.
    """
    folder = ReadingFolder(uri)
    _ = folder.content
    pages = LocalPages(partial(answer, folder), port)
    ready(pages.url)
    pages.serve()


def answer(folder: ReadingFolder, request: Request) -> Response:
    """What a browser is answered; the key of the series is not among it."""
    try:
        if request.method == "POST":
            return _kept(folder, request) if request.path == "/answers" else Response(404, b"no such page")
        if request.path == "/":
            return _page(folder, request.query.get("reader", "").strip())
        if request.path == "/favicon.ico":  # browsers ask by themselves
            return Response(204, b"")
        return _picture(folder, request.path)
    except UsageError as error:
        return Response(422, str(error).encode())


def _page(folder: ReadingFolder, reader: str) -> Response:
    try:
        return Response(200, page(folder, reader).encode(), HTML)
    except UsageError as error:
        if error.code != "reader-name":
            raise
        return Response(422, page(folder, "", str(error)).encode(), HTML)


def _picture(folder: ReadingFolder, path: str) -> Response:
    asked = PICTURE.fullmatch(path)
    try:
        content = files.read_bytes(folder.picture(asked[1], int(asked[2]))) if asked else b""
    except FileNotFoundError:
        content = b""
    return Response(200, content, "image/png") if content else Response(404, b"no such page")


def _kept(folder: ReadingFolder, request: Request) -> Response:
    """An answer on disk."""
    try:
        value = json.loads(request.body)
        reader, series, question = (str(value[name]) for name in ("reader", "series", "question"))
        level = int(value["level"])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError("reading-answer", "reader, series, question and level", "something else", "reload the page") from error
    folder.add(reader, series, question, level)
    return Response(200, b"kept")
