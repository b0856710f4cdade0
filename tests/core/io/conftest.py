"""Scans made up for the tests of reading and writing."""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import nibabel
import numpy as np
import pytest

AFFINE = np.array([[-4.0, 0, 0, 40], [0, 4.0, 0, -50], [0, 0, 5.0, -30], [0, 0, 0, 1]])


@pytest.fixture
def make_scan() -> Callable[..., Path]:
    """A function that writes a small scan; ``fields`` overwrite raw fields of its header."""

    def make(path: Path, voxels=None, affine=AFFINE, extra: bytes = b"", kind=nibabel.Nifti1Header, **fields) -> Path:
        if voxels is None:
            voxels = np.arange(20 * 24 * 16, dtype=np.int16).reshape(20, 24, 16)
        header = kind()
        header.set_data_dtype(voxels.dtype)
        header.set_data_shape(voxels.shape)
        if voxels.ndim >= 3:
            header.set_zooms([*np.linalg.norm(affine[:3, :3], axis=0), *([1.0] * (voxels.ndim - 3))])
            header.set_sform(affine, 1)
            header.set_qform(affine, 1)
        header.set_xyzt_units("mm")
        header["scl_slope"], header["scl_inter"] = 1.0, 0.0
        header["vox_offset"] = header.sizeof_hdr + 4
        header["magic"] = header.single_magic
        for name, value in fields.items():
            header[name] = value
        content = header.binaryblock + b"\0\0\0\0" + voxels.tobytes(order="F") + extra
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content, 1) if path.name.endswith(".gz") else content)
        return path

    return make


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _wait_for_bucket(uri: str, server: subprocess.Popen) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            fsspec.filesystem("s3", skip_instance_cache=True).mkdir(uri)
        except Exception:  # the server is still starting
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


@pytest.fixture(scope="session")
def s3(tmp_path_factory) -> Iterator[str]:
    """An empty bucket on a real S3 server, found by its AWS variables in the environment; for tests marked slow."""
    folder = tmp_path_factory.mktemp("seaweed")
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": "tests", "secretKey": "secret"}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    names = ("master.port", "volume.port", "filer.port", "s3.port", "master.port.grpc", "volume.port.grpc", "filer.port.grpc")
    ports = dict(zip((*names, "s3.port.grpc"), _free_ports(8), strict=True))
    command = [str(Path(sys.executable).with_name("weed")), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += ["-master.volumeSizeLimitMB=64", "-volume.max=20", "-filer", "-s3", f"-s3.config={folder / 's3.json'}"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
    command += [f"-{name}={port}" for name, port in ports.items()]
    with pytest.MonkeyPatch.context() as patch, (folder / "log").open("w") as log:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{ports['s3.port']}")
        patch.setenv("AWS_ACCESS_KEY_ID", "tests")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait_for_bucket("s3://tests", server)
            yield "s3://tests"
        finally:
            server.kill()  # asked to end, it waits for open connections
            server.wait(20)
