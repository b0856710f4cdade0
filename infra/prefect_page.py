"""A Prefect server in this very process, without the pages that ask outside hosts, and with one that asks for the password.

Prefect's second UI and FastAPI's /docs and /redoc fetch from elsewhere: here they are not found. And where the runs are processes
of this machine, a run that is to read what is not there is refused as its form is sent.

``python -m infra.prefect_page HOST PORT``; with the word ``elsewhere`` after it, runs work on other machines, and what they
read is not looked for.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import sys
from base64 import b64encode
from collections.abc import Awaitable, Callable

from infra import prefect_login
from infra.prefect_login import Message, Send

HIDDEN = re.compile(r"((/api)?/(docs|redoc)|/v2)(/.*)?")
STARTS = re.compile(r"/api/deployments/[0-9a-f-]+/create_flow_run")
READ = ("input", "cohort", "reference", "labels", "new")  # settings that name what a run reads
ELSEWHERE = "elsewhere"
LARGEST = 2**20  # bytes of a form that is looked at

Receive = Callable[[], Awaitable[Message]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def closed(app: App, *, here: bool = True) -> App:
    """An ASGI application without the pages of ``HIDDEN``.

    Args:
        app: the whole of it.
        here: runs work on this machine; those whose input is missing are refused.
    """

    async def without(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
        elif HIDDEN.fullmatch(scope["path"]):
            await _answer(send, 404, "no such page")
        elif here and scope["method"] == "POST" and STARTS.fullmatch(scope["path"]) and _let_in(scope):
            messages = await _whole(receive)
            if reason := missing(b"".join(message.get("body", b"") for message in messages)):
                await _answer(send, 409, reason)
            else:
                await app(scope, _again(messages, receive), send)
        elif scope["path"] == prefect_login.PATH:
            await _send(send, 200, b"text/html; charset=utf-8", prefect_login.PAGE.encode())
        elif scope["method"] == "GET" and _password():
            await app(prefect_login.uncompressed(scope), receive, prefect_login.asking(send))
        else:
            await app(scope, receive, send)

    return without


def _password() -> str:
    """User and password that the server asks for, as user:password; empty where it asks for none."""
    return os.environ.get("PREFECT_SERVER_API_AUTH_STRING", "")


def missing(body: bytes) -> str:
    """What is wrong with a form whose run would read what is not there; empty where nothing is, or it is not known."""
    try:
        settings = json.loads(body)["parameters"]["settings"]
        named = {name: settings[name] for name in READ if isinstance(settings.get(name), str)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""  # for the server itself to judge
    for name, place in named.items():
        if place.startswith("/") and not os.path.exists(place):  # noqa: PTH110 - a text that need not be a path
            return f"input-missing: expected the {name} of the run, but got nothing at {place}. Check the path"
    return ""


def _let_in(scope: Message) -> bool:
    """Whether who asks knows the password; the others hear nothing of what lies on this machine."""
    login = _password()
    header = dict(scope["headers"]).get(b"authorization", b"")
    return not login or hmac.compare_digest(header, b"Basic " + b64encode(login.encode()))


async def _whole(receive: Receive) -> list[Message]:
    """The messages of a request's body, as far as it is looked at."""
    messages, size = [], 0
    while size <= LARGEST:
        messages.append(message := await receive())
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    return messages


def _again(messages: list[Message], receive: Receive) -> Receive:
    """What was received once, and then what comes."""
    rest = iter(messages)

    async def next_one() -> Message:
        return next(rest, None) or await receive()

    return next_one


async def _answer(send: Send, status: int, text: str) -> None:
    await _send(send, status, b"application/json", json.dumps({"detail": text}).encode())


async def _send(send: Send, status: int, kind: bytes, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": body})


def main(argv: list[str]) -> int:
    """Serve until told to end; the settings come from the environment."""
    import prefect
    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings

    prefect.__ui_v2_static_path__ = prefect.__ui_v2_static_path__ / "none"  # else the first UI offers the second
    settings = get_current_settings().server
    level, patience = settings.logging_level.lower(), settings.api.keepalive_timeout
    pages = closed(create_app(final=True), here=ELSEWHERE not in argv[2:])
    uvicorn.run(pages, host=argv[0], port=int(argv[1]), log_level=level, timeout_keep_alive=patience)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
