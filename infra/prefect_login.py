"""What a browser asks first of a Prefect server with a password: the password.

Prefect's own page, opened by a browser that does not know the password yet, says "Oops" and offers its makers' cloud. So its
pages are sent with a line that leads such a browser, and one that knows a password of before, to a page of ours. Both keep the
password where Prefect's looks for it: in the browser's storage, as ``prefect-password``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

PATH = "/log-in"
STORED = "prefect-password"
ASKED = "/api/admin/version"  # answers 401 to who does not know the password
# The question waits for its answer: Prefect's page must not begin with a password that is no longer the server's.
ASKING = f"""<script>
(() => {{
  const kept = localStorage.getItem("{STORED}");
  if (kept) {{
    const question = new XMLHttpRequest();
    question.open("GET", "{ASKED}", false);
    question.setRequestHeader("Authorization", `Basic ${{kept}}`);
    try {{ question.send(); }} catch {{ return; }}
    if (question.status !== 401) return;
  }}
  location.replace("{PATH}?to=" + encodeURIComponent(location.pathname + location.search));
}})();
</script>"""
PAGE = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Prefect · log in</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 30rem; margin: 15vh auto; padding: 0 1rem; }}
input, button {{ font: inherit; padding: .4rem .6rem; }}
input {{ width: 100%; box-sizing: border-box; margin: .3rem 0 .8rem; }}
[role=alert] {{ color: #b00020; }}
</style></head><body>
<h1>Runs of isovox</h1>
<form><label for="login">Prefect's user and password, as user:password</label>
<input id="login" type="password" autocomplete="current-password" placeholder="user:password" required autofocus>
<button>Open</button></form>
<p role="alert" id="wrong"></p>
<p>isovox names the file that they are in; only its owner can read it.</p>
<script>
document.querySelector("form").addEventListener("submit", async (event) => {{
  event.preventDefault();
  const said = document.getElementById("wrong");
  try {{
    const login = btoa(document.getElementById("login").value.trim());
    const answer = await fetch("{ASKED}", {{ headers: {{ Authorization: `Basic ${{login}}` }} }});
    if (!answer.ok) throw new Error(answer.status === 401 ? "wrong" : answer.statusText);
    localStorage.setItem("{STORED}", login);
    const to = new URL(new URLSearchParams(location.search).get("to") ?? "/", location.origin);
    location.replace(to.origin === location.origin ? to.pathname + to.search : "/");
  }} catch (error) {{
    said.textContent = error.message === "wrong" ? "This is not the password." : `The server does not answer: ${{error.message}}`;
  }}
}});
</script></body></html>
"""

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


def uncompressed(scope: Message) -> Message:
    """A request for a page as of a browser that takes none compressed, so that a line can be put in; others as they are."""
    if b"text/html" not in dict(scope["headers"]).get(b"accept", b""):
        return scope
    return {**scope, "headers": [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]}


def asking(send: Send) -> Send:
    """What sends an answer on; a page of HTML with the line that asks for the password."""
    start: Message = {}
    body = b""

    async def on(message: Message) -> None:
        nonlocal start, body
        if message["type"] == "http.response.start":
            start = message
            if not _is_page(message):
                await send(message)
        elif not _is_page(start):
            await send(message)
        else:
            body += message.get("body", b"")
            if not message.get("more_body"):
                whole = body.replace(b"<head>", b"<head>" + ASKING.encode(), 1)
                await send({**start, "headers": _headers(start, len(whole))})
                await send({"type": "http.response.body", "body": whole})

    return on


def _is_page(start: Message) -> bool:
    kind = dict(start.get("headers", ())).get(b"content-type", b"")
    return start.get("status") == 200 and kind.startswith(b"text/html")


def _headers(start: Message, length: int) -> list[tuple[bytes, bytes]]:
    """Those of the page, with the length that it has now; and never what a browser kept from before."""
    kept = [(name, value) for name, value in start["headers"] if name not in {b"content-length", b"etag", b"last-modified"}]
    return [*kept, (b"content-length", str(length).encode()), (b"cache-control", b"no-cache")]
