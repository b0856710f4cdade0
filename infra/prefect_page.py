"""A Prefect server in this very process, without the pages that ask outside hosts: ``python -m infra.prefect_page HOST PORT``.

Prefect's second UI and FastAPI's /docs and /redoc fetch from elsewhere: here they are not found.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

HIDDEN = re.compile(r"((/api)?/(docs|redoc)|/v2)(/.*)?")

Scope = MutableMapping[str, Any]
Send = Callable[[Scope], Awaitable[None]]
App = Callable[[Scope, Any, Send], Awaitable[None]]


def closed(app: App) -> App:
    """An ASGI application without the pages of ``HIDDEN``."""

    async def without(scope: Scope, receive: Any, send: Send) -> None:
        if scope["type"] == "http" and HIDDEN.fullmatch(scope["path"]):
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"no such page"})
        else:
            await app(scope, receive, send)

    return without


def main(argv: list[str]) -> int:
    """Serve until told to end; the settings come from the environment."""
    import prefect
    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings

    prefect.__ui_v2_static_path__ = prefect.__ui_v2_static_path__ / "none"  # else the first UI offers the second
    settings = get_current_settings().server
    options = {"log_level": settings.logging_level.lower(), "timeout_keep_alive": settings.api.keepalive_timeout}
    uvicorn.run(closed(create_app(final=True)), host=argv[0], port=int(argv[1]), **options)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
