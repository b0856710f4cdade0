"""Told to stop, a command says in one line what is kept; status then says what waits, runs and was interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from cli.helpers.tables import summary
from cli.main import main
from core.io import files
from core.io.lock import cohort_lock
from core.io.output import Output
from core.settings.run import RunSettings
from flows.weights import Choice
from tasks.pipeline.discover import plan_cohort
from tasks.pipeline.results import progress_of, verified_records
from tests.cases.makers import bids
from tests.flows.test_harmonize import site

ROOT = Path(__file__).resolve().parents[2]


def stopped(words: list[str], when, number: int, **variables: str) -> tuple[int, str, str]:
    """Exit code and what a command wrote, told to stop when ``when`` is true."""
    command = [sys.executable, "-m", "cli", *words]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 240
    while not when() and time.monotonic() < until and process.poll() is None:
        time.sleep(0.05)
    with suppress(ProcessLookupError):  # it had ended before
        os.killpg(process.pid, number)  # as a terminal does: its children too
    out, err = process.communicate(timeout=90)
    return process.returncode, out, err


def finished(words: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """A command that is left alone."""
    command = [sys.executable, "-m", "cli", *words]
    return subprocess.run(command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, check=False, timeout=600)


def line_of(number: int) -> str:
    """What a command that goes on says as it is stopped."""
    name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    return f"isovox: stopped by {name}; what is finished is kept, and the same command goes on from there\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", ["run", "plan", "doctor"])
def test_in_the_first_seconds_one_line_is_said(tmp_path, command, number):
    root = bids(tmp_path / "in", "01")
    begun = time.monotonic()
    words = [command, str(root), str(tmp_path / "out")] if command != "doctor" else [command]
    code, out, err = stopped(words, lambda: time.monotonic() - begun > 0.4, number)
    assert code in {128 + number, -number}  # the latter before Python has begun with isovox
    assert not out
    if code > 0:
        kept = "what is finished is kept, and the same command goes on from there" if command == "run" else "nothing was changed"
        name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
        assert err == f"isovox: stopped by {name}; {kept}\n"


COMMANDS = {  # words of each command; {out} is made anew
    "train": ["resunet-3d", "{root}", "--out", "{out}"],
    "simulate": ["{root}", "{out}"],
    "evaluate": ["thick-slice", "{root}", "--out", "{out}"],
    "harmonize": ["a={root}", "b={root}", "{out}"],
    "status": ["{out}"],
    "verify": ["{out}"],
    "clean": ["{out}"],
    "demo": ["{out}"],
    "up": ["{out}"],
    "ui": ["{out}"],
}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_one_line_in_its_first_second(tmp_path, command, number):
    root, out = bids(tmp_path / "in", "01"), tmp_path / "out"
    words = [command, *(word.format(root=root, out=out) for word in COMMANDS[command])]
    for wait in (0.3, 0.6, 1.0):
        until = time.monotonic() + wait
        code, told, err = stopped(words, lambda until=until: time.monotonic() > until, number)
        if "expected" in err:  # it had ended before: there is no such output
            assert code in {2, -number}  # Python puts the signals' own actions back as it ends
        else:
            assert code in {128 + number, -number}
            assert all(line.endswith("…") for line in told.splitlines())  # what it had begun
            ledger = ("files: ", "left out: ", "not looked into: ")  # of the input, which may be told before
            said = [line for line in err.splitlines() if not line.startswith(ledger)]
            assert len(said) == (code > 0), err
            assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("cluster", ["local", "in-process"])
def test_a_network_is_stopped_in_mid_inference(tmp_path, cluster, number):
    root, out = bids(tmp_path / "in", "01", "02", shape=(64, 64, 30), voxel=(2.0, 2.0, 4.0)), tmp_path / "out"
    words = ["run", str(root), str(out), "--method", "resunet-3d", "--outside-domain", "--cluster", cluster, "--workers", "2"]
    words += ["--quiet"]  # else waits are told
    state = out / "isovox" / "cohort.zarr"
    begun: list[float] = []

    def in_the_midst() -> bool:
        if not begun and any(state.glob("*/measured/image/c")):
            begun.append(time.monotonic())
        return bool(begun) and time.monotonic() - begun[0] > 1.0

    code, _, err = stopped(words, in_the_midst, number)
    assert begun, err
    assert code == 128 + number
    assert err == line_of(number)
    with cohort_lock(Output(str(out)).lock):  # nobody holds it any more
        assert not any("desc-restored" in path.name for path in out.rglob("sub-*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_evaluation_is_stopped_in_mid_inference(tmp_path, number):
    root, out = bids(tmp_path / "in", "01", "02", "03", shape=(72, 72, 72), voxel=(2.0, 2.0, 2.0)), tmp_path / "out"
    words = ["evaluate", "thick-slice", str(root), "--methods", "cubic", "resunet-3d", "--out", str(out), "--quiet"]
    code, told, err = stopped(words, lambda: any((out / "restored").glob("resunet-3d/**/*")), number)
    assert code == 128 + number
    assert not told
    assert err == line_of(number)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", ["taken in", "trained"])
def test_a_training_is_stopped_in_mid_work_and_the_same_command_goes_on(tmp_path, server, number, when):
    root, out = bids(tmp_path / "in", "01", "02", "03", shape=(40, 40, 40), voxel=(3.0, 3.0, 3.0)), tmp_path / "out"
    few = [
        "--preset",
        "tiny",
        "--steps",
        "6",
        "--batch",
        "1",
        "--patch",
        "16",
        "--validate-every",
        "3",
        "--validation-pairs",
        "1",
    ]
    words = ["train", "unet-3d", str(root), "--out", str(out), *few, "--checkpoint-minutes", "0", "--quiet"]
    home = {"ISOVOX_HOME": str(tmp_path / "own"), "OMP_NUM_THREADS": "1"} | server
    mark = out / ("checkpoint.safetensors" if when == "trained" else "cohort.zarr")
    code, told, err = stopped(words, mark.exists, number, **home)
    assert mark.exists()
    assert code == 128 + number
    assert not told
    assert err == line_of(number)
    assert not (out / "model").exists()
    again = finished(words, **home)
    assert again.returncode == 0, again.stderr
    assert "models:/unet-3d/1 (champion)" in again.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", ["inferred", "measured"])
def test_a_harmonisation_is_stopped_in_mid_inference_and_the_same_command_goes_on(tmp_path, server, number, when):
    sites = [site(tmp_path / name, gain, 2, seed) for name, gain, seed in (("oslo", 1, 0), ("bonn", 9, 41))]
    out = tmp_path / "out"
    words = ["harmonize", *(f"{folder.name}={folder}" for folder in sites), str(out), "--voxel-size", "2", "--quiet"]
    words += ["--method", "resunet-3d", "--outside-domain", "--workers", "1", "--field-of-view", "160", "160", "160"]
    home = {"ISOVOX_HOME": str(tmp_path / "own"), "OMP_NUM_THREADS": "1"} | server
    marks = {"inferred": "oslo/isovox/cohort.zarr/*/measured/image/c", "measured": "bonn/isovox/scans/*"}
    code, told, err = stopped(words, lambda: any(out.glob(marks[when])), number, **home)
    assert any(out.glob(marks[when]))
    assert code == 128 + number
    assert not told
    assert err == line_of(number)
    again = finished(words, **home)
    assert again.returncode == 0, again.stderr
    assert "planned 4 = 0 done + 4 flagged + 0 failed" in again.stdout  # it is for thicker slices


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_goes_on_and_status_says_so_in_between(tmp_path, number, capsys):
    root, out = bids(tmp_path / "in", *(f"{n:02}" for n in range(1, 9))), tmp_path / "out"
    words = ["run", str(root), str(out), "--voxel-size", "3", "--workers", "1", "--quiet"]
    scans = out / "isovox" / "scans"
    code, _, err = stopped(words, lambda: scans.is_dir() and any(scans.iterdir()), number)
    assert code == 128 + number
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert main(["status", str(out)]) == 3
    assert "interrupted" in capsys.readouterr().out
    assert main(words) == 0
    assert main(["status", str(out)]) == 0
    assert "planned 8 = 8 done" in capsys.readouterr().out


def test_what_waits_runs_or_was_interrupted_is_no_failure(tmp_path, capsys):
    root, out = bids(tmp_path / "in", "01", "02"), Output(str(tmp_path / "out"))
    plan = plan_cohort(RunSettings(input=str(root), out=out.uri))
    files.write_json(out.plan, plan.model_dump(mode="json"))

    def views() -> dict[str, str]:
        records = verified_records(out, plan)
        found = progress_of(out, plan, records)
        assert "0 failed" in summary(records, found)
        return found

    assert views() == dict.fromkeys(("sub-01_T1w", "sub-02_T1w"), "interrupted")
    assert main(["status", out.uri]) == 3
    assert "report:" not in capsys.readouterr().out  # there is none
    with cohort_lock(out.lock):
        (Path(out.store) / "sub-01_T1w").mkdir(parents=True)
        assert views() == {"sub-01_T1w": "running", "sub-02_T1w": "waiting"}
        assert main(["status", out.uri]) == 0
    told = capsys.readouterr().out
    assert "planned 2 = 0 done + 0 skipped + 0 flagged + 0 failed + 1 running + 1 waiting" in told
    assert "files: 3 seen = 2 of scans + 0 refused + 1 left out" in told
    files.write_json(out.ending, {"plan": plan.digest})
    assert set(views().values()) == {"waiting"}


def test_a_flow_takes_the_plan_that_was_made_for_its_settings_and_no_other(tmp_path):
    from flows.reprocess import _given, with_plans

    root = bids(tmp_path / "in", "01")
    settings = RunSettings(input=str(root), out=str(tmp_path / "out"))
    plan = plan_cohort(settings)
    assert _given(settings, Choice(None)) is None
    with with_plans([plan]):
        assert _given(settings, Choice(None)) is plan
        assert _given(settings.model_copy(update={"seed": 1}), Choice(None)) is None
    assert _given(settings, Choice(None)) is None


def test_what_killed_writers_left_of_the_scans_that_are_restored_goes_and_nothing_of_others(tmp_path):
    from flows.reprocess import _remove_leftovers

    out = Output(str(tmp_path))
    left = ["isovox/.plan.json.1-2-3.tmp", *(f"isovox/cohort.zarr/a/{name}" for name in ("zarr.1f.partial", "b/.c.1-2-3.tmp"))]
    kept = ["isovox/plan.json", "mine.partial", "isovox/cohort.zarr/a/zarr.json", "isovox/cohort.zarr/other/zarr.1f.partial"]
    for path in (*left, *kept):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    _remove_leftovers(out, {"a", "never begun"})
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == set(kept)


@pytest.mark.slow
def test_a_run_plans_once(tmp_path, monkeypatch):
    import flows.reprocess

    monkeypatch.setattr(flows.reprocess, "plan_run", None)  # called, it would fail
    root, out = bids(tmp_path / "in", "01"), tmp_path / "out"
    assert main(["run", str(root), str(out), "--voxel-size", "3", "--quiet"]) == 0
    assert json.loads((out / "isovox" / "run.json").read_text())["counts"]["done"] == 1


def test_every_file_is_listed_on_request(tmp_path, capsys):
    root = bids(tmp_path / "in", "01", "A_1")
    assert main(["plan", str(root), str(tmp_path / "out"), "--files"]) == 3
    told = capsys.readouterr().out
    assert "scan sub-01_T1w\tsub-01/anat/sub-01_T1w.nii.gz" in told
    assert "left out: metadata (JSON)\tdataset_description.json" in told
    assert "files: 3 seen = 1 of scans + 1 refused + 1 left out" in told
    assert not (tmp_path / "out").exists()


def test_nothing_but_the_handler_is_imported_before_it_is_installed():
    """What Python does before it begins with isovox can be told to stop as any Python program can."""
    code = (
        "import sys; before = set(sys.modules); import cli.__main__ as begin; new = set(sys.modules) - before; "
        "assert not new & {'argparse', 'core', 'yaml', 'logging'}, new; "
        "import os, signal; begin.watch(['evaluate']); os.kill(os.getpid(), signal.SIGINT)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    kept = "what is finished is kept, and the same command goes on from there"
    assert ended.stderr == f"isovox: stopped by Ctrl-C; {kept}\n"
