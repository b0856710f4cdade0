"""What a deployed run takes from its group, where its settings do not say otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from core.settings.run import RunSettings
from flows.runs.group import filled, with_group

GROUP = {"tracking_uri": "http://127.0.0.1:5000", "compute": {"cluster": "tls://127.0.0.1:8786"}}


@pytest.mark.parametrize(
    ("said", "cluster", "workers", "uri"),
    [
        (
            {},
            "tls://127.0.0.1:8786",
            RunSettings.model_fields["compute"].get_default(call_default_factory=True).workers,
            GROUP["tracking_uri"],
        ),
        ({"compute": {"workers": 3}}, "tls://127.0.0.1:8786", 3, GROUP["tracking_uri"]),
        (
            {"compute": {"cluster": "in-process", "workers": 3}, "tracking_uri": "sqlite:///a.db"},
            "in-process",
            3,
            "sqlite:///a.db",
        ),
    ],
)
def test_what_is_not_said_is_the_groups(said: dict[str, Any], cluster: str, workers: int, uri: str) -> None:
    settings = filled(RunSettings(input="/data/in", out="/data/out", **said), GROUP)
    assert (settings.compute.cluster, settings.compute.workers, settings.tracking_uri) == (cluster, workers, uri)


def test_a_run_of_ones_own_is_as_it_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOVOX_CLUSTER", "tls://127.0.0.1:8786")
    settings = RunSettings(input="/data/in", out="/data/out")
    assert with_group(settings) is settings
