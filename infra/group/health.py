"""Whether the parts of a group live: asked on loopback, by the standard library alone, for the supervisor asks all day."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from infra.group.state import POOL, read_json

TIMEOUT = 5.0  # seconds
STALE = 30.0  # seconds after which a word about workers is old
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback is not asked for by way of a proxy


def ask(url: str, login: str | None = None, body: Any = None, *, method: str | None = None) -> tuple[int, Any]:
    """A server's answer: its status and what its JSON says; status 0 where nothing answers.

    Args:
        url: on loopback.
        login: user:password.
        body: sent as JSON by POST; None for GET.
        method: where it is another.
    """
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if login:
        headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 - our own loopback address
    try:
        with _OPENER.open(request, timeout=TIMEOUT) as answer:
            return int(answer.status), _parsed(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, None
    except (OSError, ValueError):
        return 0, None


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def closed_door(url: str, login: str) -> bool:
    """Whether a server lets in who knows its password, and no other; so it is ours, not another that took its port."""
    return ask(url, login)[0] == 200 and ask(url)[0] == 401


def worker_online(api: str, login: str, born: float = 0.0) -> bool:
    """Whether the pool has a worker that has told of itself since ``born`` (seconds since 1970)."""
    status, workers = ask(f"{api}/work_pools/{POOL}/workers/filter", login, {})
    return status == 200 and any(worker.get("status") == "ONLINE" and _heard(worker) >= born for worker in workers or [])


def _heard(worker: Mapping[str, Any]) -> float:
    try:
        return datetime.fromisoformat(worker["last_heartbeat_time"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return 0.0


def workers_alive(path: Path, born: float = 0.0) -> int:
    """How many Dask workers live, by what their process said last, since ``born`` (seconds since 1970)."""
    word = read_json(path)
    fresh = word.get("at", 0.0) >= max(born, time.time() - STALE)
    return int(word.get("workers", 0)) if fresh else 0


def speaks_tls(address: str, files: Mapping[str, str] | None) -> bool:
    """Whether a scheduler answers at tls://HOST:PORT, to one with the certificates (ISOVOX_TLS_*), or (None) to one without.

    A refusal of the client's certificate comes after the handshake: as the first read's error, or an end.
    """
    host, _, port = address.removeprefix("tls://").rpartition(":")
    try:
        with (
            socket.create_connection((host, int(port)), timeout=TIMEOUT) as plain,
            _context(files).wrap_socket(plain) as secured,
        ):
            return bool(secured.recv(1))  # Dask speaks first
    except (OSError, ValueError):
        return False


def _context(files: Mapping[str, str] | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if files:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(files["ISOVOX_TLS_CA"])
        context.load_cert_chain(files["ISOVOX_TLS_CERT"], files["ISOVOX_TLS_KEY"])
    return context
