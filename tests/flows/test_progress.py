"""What a user sees while work runs: on a terminal, without one, and from another shell."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from cli import status
from cli.main import main
from core.errors import AccessError, IsovoxError, UsageError
from core.io import claim, files, space
from core.io.lock import cohort_lock
from core.io.output import Output
from core.settings.run import RunSettings
from core.settings.scans import Selection
from flows.runs import beside, launch, paces, progress
from flows.runs.address import tell_addresses
from infra import services
from infra.quiet import ServiceError
from tasks.course import Standing
from tasks.events import Advanced
from tasks.tracking.address import run_page
from tests.deployments.cohorts import phantoms

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def loud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_quiet", False)


def test_without_a_terminal_a_line_now_and_then_and_no_escape_codes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINES", 0.05)
    with progress.bars("simulating", {"scans": 4}) as tell:
        tell(Advanced("scans"))
        time.sleep(0.2)
    lines = capsys.readouterr().err.splitlines()
    assert re.match(r"simulating: 25 %, about 1 s left, 1/4 scans", lines[0])
    assert len(lines) > 1
    assert not any("\x1b" in line for line in lines)


def test_quiet_is_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "_quiet", True)
    monkeypatch.setattr(progress, "LINES", 0.01)
    progress.waiting("starting services")
    with progress.bars("simulating", {"scans": 4}):
        time.sleep(0.05)
    assert capsys.readouterr().err == ""


def test_on_a_terminal_a_bar_says_what_it_counts() -> None:
    code = (
        "from flows.runs.progress import bars; from tasks.events import Advanced; import time\n"
        "with bars('restoring', {'scans': 1, 'tiles': 8}, 20.0) as tell: tell(Advanced('tiles', 2)); time.sleep(0.6)"
    )
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=theirs, env=os.environ | {"COLUMNS": "120"}) as process:
        process.wait(60)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "restoring" in shown
    assert "━" in shown
    assert re.search(r"25 %, about \d+ s left, 0/1 scans, 2/8 tiles", shown)


def test_another_shell_sees_how_far_a_run_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "TOLD", 0.02)
    monkeypatch.setattr(progress, "_quiet", True)
    place = Output(str(tmp_path)).course
    with progress.bars("restoring", {"scans": 2, "steps": 10}, told_at=place) as tell:
        tell(Advanced("steps", 5))
        looks = iter([True, True, False])
        for _ in range(200):
            if files.exists(place):
                break
            time.sleep(0.02)
        progress.watch(lambda: [place], lambda: next(looks), pause=0.01)
    assert capsys.readouterr().out.startswith("restoring: 50 %, 0/2 scans, 5/10 steps")
    assert not files.exists(place)


def test_of_other_commands_too_it_is_told_how_far_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The latest that tells counts: a harmonisation's sites tell in their own folders; what a killed one left is not taken."""
    out, site = Output(str(tmp_path)), Output(str(tmp_path / "oslo"))
    claim.mark(out.uri, "harmonize")
    for place, doing, at in ((out, "measuring", 1.0), (site, "restoring", 2.0)):
        value = Standing(doing, 50.0, {"scans": (1, 2)}, None, "", None).to_json()
        files.write_json(place.course, value | {"at": at})
    assert main(["status", out.uri]) == 0
    assert "no process is working on it" in capsys.readouterr().out
    with cohort_lock(out.lock):
        assert main(["status", out.uri]) == 0
    assert re.search(r"isovox harmonize works here: .*\nrestoring: 50 %, 1/2 scans\n", capsys.readouterr().out)


def test_a_command_whose_servers_start_is_watched_before_it_has_its_lock(tmp_path: Path) -> None:
    out = Output(str(tmp_path))
    assert not status._works(out)
    state = services.local_state(out.uri)
    state.mkdir()
    assert status._works(out)
    os.utime(state, (0, 0))  # of a command that was killed long ago
    assert not status._works(out)
    os.utime(state)
    claim.mark(out.uri, "run")  # what is there is told, and not waited for
    assert not status._works(out)


def test_what_was_counted_a_moment_ago_is_not_counted_again(tmp_path: Path) -> None:
    with progress.counted_before(7):
        assert progress.counted(str(tmp_path / "none"), Selection()) == 7
    with pytest.raises(UsageError):
        progress.counted(str(tmp_path / "none"), Selection())


def test_what_cannot_be_read_of_a_run_is_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "course.json").write_text('{"doing": "restoring"}')
    looks = iter([True, False])
    progress.watch(lambda: [str(tmp_path / "course.json")], lambda: next(looks), pause=0.0)
    progress.watch(lambda: [str(tmp_path / "none.json")], lambda: False)
    assert capsys.readouterr().out == ""
    with pytest.raises(TypeError):
        Standing.of_json({"doing": "restoring"})


def test_the_first_line_comes_before_anything_heavy() -> None:
    code = "import sys; sys.argv = ['isovox', 'run', '--nonsense']; from cli.__main__ import main; sys.exit(main())"
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-X", "importtime", "-c", code], cwd=ROOT, stderr=theirs, stdout=theirs) as process:
        shown = b""
        while b"looking at options, output and model" not in shown:
            shown += os.read(ours, 1 << 16)
        process.kill()
    os.close(theirs)
    os.close(ours)
    before = shown.partition(b"isovox run: looking")[0]
    assert not any(module in before for module in (b"argparse", b"pydantic", b"numpy", b"prefect"))


@pytest.mark.slow
def test_a_line_comes_within_2_seconds_and_a_bar_within_10(tmp_path: Path) -> None:
    """Of the command's own time on a processor, which other work on the machine does not stretch."""
    source, out = phantoms(tmp_path / "bids", 2), tmp_path / "out"
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "cli", "run", str(source), str(out), "--method", "cubic"]
    shown, took = b"", []
    with subprocess.Popen(command, cwd=ROOT, stderr=theirs, stdout=theirs) as process:
        os.close(theirs)
        for sign in (b"isovox run: looking at options", "━".encode()):
            while sign not in shown:
                shown += os.read(ours, 1 << 16)
            took.append(sum(psutil.Process(process.pid).cpu_times()[:2]))
        process.send_signal(signal.SIGINT)
        while True:
            try:
                os.read(ours, 1 << 16)
            except OSError:
                break
    os.close(ours)
    assert took[0] < 2
    assert took[1] < 10


def test_paces_of_this_machine_serve_the_next_forecast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOVOX_HOME", str(tmp_path))
    settings = RunSettings(input="in", out="out", method="cubic")
    assert paces.paces_here(settings) == {}
    paces.learn(settings, [("cubic", {"restore": 1.0, "report": 5.0}), ("cubic", {"restore": 2.0}), ("cubic", {"restore": 9.0})])
    paces.learn(settings, [("sinc", {"export": 3.0})])
    assert paces.paces_here(settings) == {"cubic": {"restore": 2.0, "report": 5.0}, "sinc": {"export": 3.0}}
    other = settings.model_copy(update={"method_options": {"order": 1}})
    assert paces.paces_here(other) == {"sinc": {"export": 3.0}}
    paces.learn(settings, [("cubic", {"restore": 4.0})] * paces.KEPT)
    assert paces.paces_here(settings)["cubic"] == {"restore": 4.0}  # the latest count
    for damaged in ("torn", '{"cubic cpu": [200.0]}'):
        (tmp_path / paces.FILE).write_text(damaged)
        assert paces.paces_here(settings) == {}


def test_a_plan_that_cannot_be_made_starts_no_server_and_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        raise UsageError("none", "scans", "none", "name others")

    with pytest.raises(UsageError, match="none: expected scans"):
        launch.run_beside(Output(str(tmp_path / "out")), fail)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("closed", [False, True])
def test_an_output_that_takes_nothing_starts_no_server_and_no_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    def refuse(_: str) -> None:
        raise AccessError("storage-forbidden", "access", "a refusal", "check it")

    if closed:
        monkeypatch.setattr(claim, "check_writable", refuse)
    else:
        monkeypatch.setattr(space, "free", lambda _: 3 << 20)
    monkeypatch.setattr(services, "prefect_server", None)  # called, it would fail
    with pytest.raises(IsovoxError, match="storage-forbidden" if closed else "disk-too-small: expected at most 3 MiB"):
        launch.run_beside(Output(str(tmp_path / "out")), lambda: pytest.fail("planned"))  # type: ignore[arg-type, return-value]
    assert not (tmp_path / "out").exists()


def test_the_log_that_a_dead_server_s_error_names_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def server(state: Path) -> Iterator[str]:
        (state / "prefect.log").write_text("no room\n")
        raise ServiceError("service-died", "Prefect running", "exit status 3", f"see {state / 'prefect.log'}")
        yield ""

    monkeypatch.setattr(services, "prefect_server", server)
    with pytest.raises(ServiceError, match="service-died") as died:
        launch.run_beside(Output(str(tmp_path / "out")), lambda: None)  # type: ignore[arg-type, return-value]
    assert Path(died.value.remedy.removeprefix("see ")).read_text() == "no room\n"


def test_a_plan_that_fails_late_ends_the_server_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    up: list[bool] = []

    @contextmanager
    def server(state: Path) -> Iterator[str]:
        (state / "prefect").mkdir(parents=True)
        up.append(True)
        yield "http://127.0.0.1:1"
        up.append(False)

    def fail() -> None:
        time.sleep(0.1)
        raise UsageError("none", "scans", "none", "name others")

    monkeypatch.setattr(beside, "SOON", 0.0)
    monkeypatch.setattr(services, "prefect_server", server)
    with pytest.raises(UsageError, match="none: expected scans"):
        launch.run_beside(Output(str(tmp_path / "made" / "out")), fail)  # type: ignore[arg-type]
    assert up == [True]
    assert list(tmp_path.iterdir()) == []


def test_a_plan_that_fails_leaves_the_services_of_another_run_of_its_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = ExitStack()

    @contextmanager
    def server(state: Path) -> Iterator[str]:
        (state / "prefect").mkdir()
        others.enter_context(beside._used(state))  # begun together with the one that fails
        yield "http://127.0.0.1:1"

    def fail() -> None:
        time.sleep(0.1)
        raise UsageError("none", "scans", "none", "name others")

    monkeypatch.setattr(beside, "SOON", 0.0)
    monkeypatch.setattr(services, "prefect_server", server)
    state = tmp_path / "out" / "isovox"
    with others, pytest.raises(UsageError, match="none: expected scans"):
        launch.run_beside(Output(str(tmp_path / "out")), fail)  # type: ignore[arg-type]
    assert (state / "prefect").is_dir()
    beside._remove(state, [state, tmp_path / "out"])
    assert list(tmp_path.iterdir()) == []
    with beside._used(state):
        assert state.is_dir()


def test_commands_of_one_output_start_their_servers_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that make the tables of one new database at once end one another."""
    others: list[bool] = []

    def another_may_start() -> bool:
        folder = os.open(tmp_path / "out", os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(folder)
        return True

    @contextmanager
    def server(_: Path) -> Iterator[str]:
        others.append(another_may_start())
        yield "http://127.0.0.1:1"

    monkeypatch.setattr(services, "prefect_server", server)
    beside.served(str(tmp_path / "out"), lambda: None, lambda _: others.append(another_may_start()), "core")
    assert others == [False, True]


def test_a_folder_that_can_never_be_made_is_not_tried_for_ever() -> None:
    with pytest.raises(FileNotFoundError, match="/proc/none/isovox"), beside._used(Path("/proc/none/isovox")):
        pass


def test_a_run_says_where_it_is_shown_and_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    page = run_page("http://jane:secret@host:5000/", "3", "abc")
    assert page == "http://host:5000/#/experiments/3/runs/abc"
    assert run_page("sqlite:///mlflow.db", "3", "abc") is None
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    told: list[str] = []
    tell_addresses(told.append, page)
    tell_addresses(told.append)
    assert told == [f"this run in MLflow: {page}"]
