"""The doctor names what is missing with its remedy, in a moment, and never shows a secret."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from infra import doctor
from infra.doctor import Check, checks


def found(name: str, folder: str = ".") -> Check:
    return next(check for check in checks(folder) if check.name == name)


def test_each_check_is_named_once_and_has_a_remedy_where_something_is_wrong(tmp_path: Path) -> None:
    seen = checks(str(tmp_path / "not" / "yet"))
    assert len({check.name for check in seen}) == len(seen)
    assert {"Python", "CPU cores", "memory", "GPU", "dask-cuda", "browser", "S3 credentials", "Prefect", "MLflow", "disk"} <= {
        check.name for check in seen
    }
    assert all(check.found for check in seen)
    assert all(bool(check.remedy) == (check.state != "ok") for check in seen)


def test_a_package_that_is_not_as_pinned_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "requires", lambda _: ["numpy==0.1", "not-there-at-all", "pytest>=1; extra == 'dev'"])
    by_name = {check.name: check for check in doctor._packages()}
    assert (by_name["numpy"].state, by_name["not-there-at-all"].state) == ("warning", "missing")
    assert "==0.1" in by_name["numpy"].found
    assert "packages" not in by_name


def test_secrets_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAHIDDEN")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-secret")
    monkeypatch.setenv("PREFECT_API_URL", "http://user:hidden-secret@127.0.0.1:9/api")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://user:hidden-secret@host/db")
    text = str(checks())
    assert "AWS_ACCESS_KEY_ID" in text
    assert "hidden" not in text.lower()


def test_whether_a_server_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{server.getsockname()[1]}/api")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        assert found("Prefect").state == "ok"
        assert (found("MLflow").state, found("MLflow").remedy) == ("warning", "start it, or unset MLFLOW_TRACKING_URI")


def test_limits_of_a_container_count(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"/sys/fs/cgroup/cpu.max": "50000 100000", "/sys/fs/cgroup/memory.max": str(2**30)}
    monkeypatch.setattr(doctor, "_read", lambda path: limits.get(path, ""))
    assert (found("CPU cores").state, found("CPU cores").found) == ("warning", "0.5")
    assert (found("memory").state, found("memory").found) == ("warning", "1.0 GiB")


def test_small_shared_memory_and_a_gpu_without_its_torch_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LEAST_SHARED", 2**60)
    monkeypatch.setattr(doctor, "gpu_names", lambda: ["GPU 0: NVIDIA H200 (UUID: GPU-0-1)"])
    monkeypatch.setattr(doctor, "version", lambda name: "2.13.0+cpu" if name == "torch" else "1")
    assert found("shared memory").state == "warning"
    assert found("GPU").found == "GPU 0: NVIDIA H200"
    assert found("torch for the GPU").state == "warning"


def test_a_folder_that_cannot_be_written_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    assert found("disk", str(tmp_path)).state == "missing"


def test_nothing_heavy_is_imported() -> None:
    heavy = ("torch", "distributed", "prefect", "mlflow")
    code = f"import sys, infra.doctor as d; d.checks(); print([name for name in {heavy} if name in sys.modules])"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert seen.stdout == "[]\n"
