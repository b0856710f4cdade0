"""Where notifications go, as blocks of Prefect's own kinds: a webhook, Slack, e-mail. Addresses are kept as secrets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import cast
from urllib.parse import quote, urlsplit
from uuid import UUID

from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SlackWebhook
from pydantic import SecretStr

from core.errors import UsageError
from deployments.cohorts import NOTIFY

SMTP = "ISOVOX_SMTP"  # smtp://[USER:PASSWORD@]HOST[:PORT][?from=ADDRESS], smtps:// with TLS


def block_of(said: str, environ: Mapping[str, str] = os.environ) -> tuple[str, NotificationBlock]:
    """Kind and block of what ``--notify`` says.

    Raises:
        UsageError: not of one of the forms.
    """
    kind, equals, where = said.partition("=")
    if where.startswith("env:"):  # so that no secret is in a list of processes
        where = environ.get(where.removeprefix("env:"), "")
    if kind not in KINDS or not equals or not where:
        raise UsageError("notify-form", NOTIFY, repr(kind), "correct --notify")
    return kind, KINDS[kind](where, environ)


def _webhook(url: str, _environ: Mapping[str, str]) -> NotificationBlock:
    _check_url(url)
    template = {"subject": "{{subject}}", "body": "{{body}}", "source": "isovox"}
    return CustomWebhookNotificationBlock(name="isovox", url="{{url}}", json_data=template, secrets={"url": url})


def _slack(url: str, _environ: Mapping[str, str]) -> NotificationBlock:
    _check_url(url)
    return SlackWebhook(url=SecretStr(url))


def _email(address: str, environ: Mapping[str, str]) -> NotificationBlock:
    """Prefect has no block for SMTP; that of Slack takes any address of Apprise, and Apprise can send e-mail."""
    if "@" not in address:
        raise UsageError("notify-form", "an e-mail address", repr(address), "write --notify email=jane@example.org")
    server = urlsplit(environ.get(SMTP, "smtp://localhost:25"))
    if server.scheme not in {"smtp", "smtps"} or not server.hostname:
        raise UsageError("smtp", f"smtp://HOST:PORT or smtps://USER:PASSWORD@HOST:PORT in {SMTP}", "another address", "set it")
    sender = dict(part.split("=", 1) for part in server.query.split("&") if "=" in part).get("from", f"isovox@{server.hostname}")
    scheme = "mailtos" if server.scheme == "smtps" else "mailto"
    options = f"smtp={server.hostname}&from={quote(sender)}&to={quote(address)}&format=text"
    return SlackWebhook(url=SecretStr(f"{scheme}://{server.netloc}?{options}"))


def _check_url(url: str) -> None:
    if urlsplit(url).scheme not in {"http", "https"}:
        raise UsageError("notify-form", "an address that begins with https://", "another one", "correct --notify")


KINDS = {"webhook": _webhook, "slack": _slack, "email": _email}


def save(blocks: list[tuple[str, NotificationBlock]]) -> list[UUID]:
    """Keep blocks on the server; those of a former call under the same names are replaced."""
    seen: dict[str, int] = {}
    saved = []
    for kind, block in blocks:
        seen[kind] = seen.get(kind, 0) + 1
        name = f"isovox-{kind}-{seen[kind]}"
        saved.append(cast("UUID", block.save(name, overwrite=True)))  # a coroutine only where a loop runs
    return saved
