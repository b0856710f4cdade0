"""What the server does by itself: a dead worker's run is told Crashed, and people hear of what failed, was flagged or is late."""

from __future__ import annotations

import json
import socketserver
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.deployments.cohorts import phantoms
from tests.deployments.conftest import Group, start_worker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
WINDOW = 90.0  # seconds: three heartbeats of 30 s, Prefect's shortest
LONG = {"method": "unires", "method_options": {"tolerance": 0.0}, "voxel_size": 0.5}


class Hook(BaseHTTPRequestHandler):
    """A webhook that keeps what it is told."""

    def do_POST(self) -> None:
        self.server.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


class Mail(socketserver.StreamRequestHandler):
    """A mail server that keeps what it is sent."""

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        data = False
        for raw in self.rfile:
            line = raw.decode().rstrip()
            if data:
                data = line != "."
                self.server.told.append(line)
                answer = "" if data else "250 kept"
            else:
                data = line.upper() == "DATA"
                answer = "354 go on" if data else "221 bye" if line.upper() == "QUIT" else "250 well"
            if answer:
                self.wfile.write(f"{answer}\r\n".encode())
            if answer.startswith("221"):
                return


@contextmanager
def listening(handler: type) -> Iterator[Any]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.told = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def kill(process: psutil.Process) -> None:
    """Kill a worker and all it started, as a machine that loses its power would."""
    for one in [*process.children(recursive=True), process]:
        one.kill()


def test_a_dead_machine_and_a_late_and_a_flagged_cohort_are_told(group: Group, tmp_path: Path) -> None:
    source, out = phantoms(tmp_path / "bids", 4, 64), tmp_path / "out"
    with listening(Hook) as hook, listening(Mail) as mail:
        group.environment["HOOK"] = f"http://127.0.0.1:{hook.server_address[1]}/tell?token=secret"
        group.environment["ISOVOX_SMTP"] = f"smtp://127.0.0.1:{mail.server_address[1]}?from=isovox@example.org"
        said = group.deploy("--notify", "webhook=env:HOOK", "--notify", "email=jane@example.org", "--late", "1")
        assert "told of failed, flagged and late cohorts: webhook, email" in said
        assert "secret" not in said
        worker = start_worker(group)
        run = group.start("reprocess-cohort/reprocess-cohort", settings={"input": str(source), "out": str(out)} | LONG)
        group.wait(lambda: list((out / "isovox").glob("cohort.zarr/*/measured/zarr.json")))
        time.sleep(2)
        kill(psutil.Process(worker.pid))
        worker.wait()
        began = time.monotonic()
        waits = group.start("reprocess-cohort/reprocess-cohort", settings={"input": str(source), "out": f"{out}-2"})
        flagged = {"done": 2, "flagged": 1, "skipped": 0, "failed": 0}
        resource = {"prefect.resource.id": "isovox.cohort.study", "prefect.resource.name": "study"}
        event = {"event": "isovox.cohort-flagged", "resource": resource, "payload": flagged, "id": str(uuid.uuid4())}
        group.ask("events", [event | {"occurred": datetime.now(UTC).isoformat()}])

        ended = group.ended(run, WINDOW + 90)
        print(f"Crashed {time.monotonic() - began:.0f} s after the machine died")  # noqa: T201
        assert (ended["state"]["type"], "no sign of life for 90 s" in ended["state"]["message"]) == ("CRASHED", True)

        late = group.run(waits)["name"]
        failed = f"reprocess-cohort ({source.name}, unires, {datetime.now(UTC).astimezone().date()}) failed"
        subjects = {f"isovox: {what}" for what in (failed, "study has flagged scans", f"reprocess-cohort ({late}) is late")}
        group.wait(lambda: subjects <= {notice["subject"] for notice in hook.told}, 150)
        assert any("1 flagged, 2 done" in one["body"] for one in hook.told)
        assert any("Crashed: no sign of life" in one["body"] for one in hook.told)
        group.wait(lambda: "Subject: isovox: study has flagged scans" in mail.told, 30)
        group.ask(f"flow_runs/{waits}/set_state", {"state": {"type": "CANCELLED"}, "force": True})
