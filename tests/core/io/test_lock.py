"""One run at a time, and no lock that a dead run leaves behind for ever."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import BusyError
from core.io import lock


def test_the_second_is_told_who_works_there(tmp_path: Path) -> None:
    path = str(tmp_path / "lock.json")
    with lock.cohort_lock(path):
        assert lock.owner(path)
        with (
            pytest.raises(BusyError, match=r"already-running: .*got a run by .* on .* \(process \d+\) since .*\. Wait"),
            lock.cohort_lock(path),
        ):
            pytest.fail("two owners")
        assert Path(path).exists(), "the one who was refused took the lock away"
    assert not Path(path).exists()
    assert lock.owner(path) is None


def test_a_dead_owner_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "lock.json"
    code = f"import os; from core.io.lock import cohort_lock\nwith cohort_lock({str(path)!r}): os._exit(9)"
    subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[3])
    dead = json.loads(path.read_text())
    assert lock.owner(str(path)) is None
    with lock.cohort_lock(str(path)):
        assert dead["pid"] != lock.owner(str(path)).pid == os.getpid()
    assert not path.exists()


def test_a_process_that_has_the_number_of_a_dead_owner_is_not_taken_for_it(tmp_path: Path) -> None:
    path = tmp_path / "lock.json"
    claim = lock._claim()
    path.write_text(json.dumps(claim))
    assert lock.owner(str(path)) == lock.Owner(claim["user"], claim["host"], os.getpid(), claim["since"])
    path.write_text(json.dumps(claim | {"born": claim["born"] - 3600}))
    assert lock.owner(str(path)) is None


def test_of_two_that_follow_a_dead_owner_the_last_to_write_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lock.json"
    mine = lock._claim()
    path.write_text(json.dumps(mine | {"token": "dead", "born": 0}))
    other = mine | {"token": "other", "user": "jane"}
    monkeypatch.setattr(lock.time, "sleep", lambda _: path.write_text(json.dumps(other)))
    with pytest.raises(BusyError, match=r"already-running: .*got a run by jane"), lock.cohort_lock(str(path)):
        pytest.fail("two owners")
    assert json.loads(path.read_text()) == other


def test_another_machine_counts_as_dead_when_it_gives_no_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "lock.json")
    with lock.cohort_lock(path):
        monkeypatch.setattr(lock.socket, "gethostname", lambda: "elsewhere")
        assert lock.owner(path)
        monkeypatch.setattr(lock.time, "time", lambda: 1e12)
        assert lock.owner(path) is None
