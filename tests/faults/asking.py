"""What a Prefect server says of runs."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

from tests.faults.conftest import Runner


def asked(isovox: Runner, path: str, question: dict[str, Any]) -> Any:
    url = f"{isovox.environment['PREFECT_API_URL']}/{path}"
    request = urllib.request.Request(url, json.dumps(question).encode(), {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.loads(answer.read())


def flow_runs(isovox: Runner, out: Path) -> list[dict[str, Any]]:
    """The runs into an output, the latest first."""
    found = asked(isovox, "flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 50})
    return [one for one in found if one["parameters"].get("settings", {}).get("out") == str(out)]


def flow_states(isovox: Runner, out: Path) -> list[str]:
    """How the runs into an output stand, the latest first."""
    return [one["state_type"] for one in flow_runs(isovox, out)]


def task_runs(isovox: Runner, flow_run: str) -> int:
    """How many task runs a flow run has."""
    return int(asked(isovox, "task_runs/count", {"flow_runs": {"id": {"any_": [flow_run]}}}))
