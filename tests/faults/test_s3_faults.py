"""A cohort on S3, behind a network that drops connections and a server that answers 503."""

from __future__ import annotations

import itertools
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import fsspec
import pytest

from tests.faults.cohorts import short_sha
from tests.faults.conftest import OPTIONS, Runner

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
DROP, REFUSE, CUT = 3, 7, 11  # numbers of the connections of twenty that are ill-treated
PATIENCE = 12  # requests, roughly, after which a connection is closed: so that there are many


class BadNetwork:
    """A TCP proxy before an S3 server: of 20 connections one is dropped, one answered 503, one cut in mid-transfer."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self.harm = dict.fromkeys((DROP, REFUSE, CUT), 0)
        self._numbers = itertools.count()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client, next(self._numbers) % 20), daemon=True).start()

    def _serve(self, client: socket.socket, fate: int) -> None:
        if fate in self.harm:
            self.harm[fate] += 1
        if fate == DROP:
            client.close()
            return
        if fate == REFUSE:
            with suppress(OSError):
                client.recv(65536)
                client.sendall(BUSY)
            client.close()
            return
        server = socket.create_connection(("127.0.0.1", self._to))
        threading.Thread(target=self._pump, args=(client, server, 10**12), daemon=True).start()
        self._pump(server, client, 2000 if fate == CUT else 10**12)

    def _pump(self, source: socket.socket, sink: socket.socket, most: int) -> None:
        passed = turns = 0
        with suppress(OSError):
            while passed < most and turns < 4 * PATIENCE and (data := source.recv(65536)):
                sink.sendall(data[: most - passed])
                passed, turns = passed + len(data), turns + (len(data) < 2000)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def network(s3: str) -> Iterator[BadNetwork]:
    bad = BadNetwork(int(os.environ["AWS_ENDPOINT_URL"].rpartition(":")[2]))
    yield bad
    bad.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_cohort_on_s3_behind_a_bad_network_gives_the_same_bytes(
    isovox: Runner, cohort: Path, network: BadNetwork, expected: dict[str, str]
) -> None:
    disk = fsspec.filesystem("s3", skip_instance_cache=True)
    disk.put(f"{cohort}/", "tests/bids/", recursive=True)
    named = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    env = named | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{network.port}"}
    said = isovox("run", "s3://tests/bids", "s3://tests/out", *OPTIONS, "--retries", "6", env=env)
    assert "planned 3 = 3 done" in said
    assert min(network.harm.values()) > 0
    disk = fsspec.filesystem("s3", skip_instance_cache=True)
    made = {
        path.removeprefix("tests/out/"): short_sha(disk.cat_file(path))
        for path in disk.find("tests/out/")
        if path.endswith(".nii.gz")
    }
    assert made == {name: digest for name, digest in expected.items() if name.endswith(".nii.gz")}
    assert "3 skipped" in isovox("run", "s3://tests/bids", "s3://tests/out", *OPTIONS, "--retries", "6", env=env)
