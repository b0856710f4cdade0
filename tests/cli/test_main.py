"""The command line: light to start, settings by option and by file, exit codes, errors that name the remedy."""

from __future__ import annotations

import argparse
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cli import main as cli
from cli.helpers import console
from cli.helpers.options import add_settings, settings_from
from cli.run import show_all
from core.errors import UsageError
from core.io.output import Output
from core.settings.run import RunSettings
from infra import clusters
from tasks.pipeline.discover import plan_cohort
from tests.cases.makers import bids

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("numpy", "torch", "prefect", "mlflow", "dask", "pydantic", "zarr", "nibabel", "rich")


def parse(words: str) -> RunSettings:
    parser = argparse.ArgumentParser()
    add_settings(parser)
    return settings_from(parser.parse_args(words.split()), RunSettings)


def test_help_imports_nothing_heavy() -> None:
    listed = f"print([name for name in {HEAVY} if name in sys.modules])"
    code = f"import sys; from cli.main import main\ntry: main(['--help'])\nexcept SystemExit: {listed}"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "usage: isovox" in told
    assert told.splitlines()[-1] == "[]"


def test_packages_of_another_program_in_our_place_are_told(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "__init__.py").write_text("raise RuntimeError")
    code = "import sys; from cli.main import main; sys.path.insert(0, sys.argv[1]); sys.exit(main(['status', 'x']))"
    told = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False, cwd=ROOT)
    assert told.returncode == 2
    assert "expected isovox's own packages in" in told.stderr
    assert f"'tasks': '{tmp_path / 'tasks'}'" in told.stderr
    assert "environment of its own" in told.stderr


def test_options_reach_the_settings_they_name() -> None:
    settings = parse(
        "in out --method unires --participant-label 01 02 --suffix T1w --voxel-size 0.8 --fuse --workers 3 --patch 32"
    )
    assert settings.selection.participant_label == ("01", "02")
    assert settings.selection.suffix == ("T1w",)
    assert (settings.method, settings.voxel_size, settings.fuse) == ("unires", 0.8, True)
    assert (settings.compute.workers, settings.tiling.patch) == (3, 32)


def test_every_setting_has_an_option_and_a_description() -> None:
    parser = argparse.ArgumentParser()
    add_settings(parser)
    told = {action.dest: action.help for action in parser._actions}
    for name, field in RunSettings.model_fields.items():
        assert any(dest.split(".")[0] == name for dest in told), name
        assert field.title or hasattr(field.annotation, "model_fields")
    assert all(told.values())


def test_a_file_says_the_same_and_options_win(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("method: linear\nvoxel_size: 2\ntiling:\n  patch: 48\nselection:\n  suffix: [T2w]\n")
    settings = parse(f"in out --config {file} --voxel-size 1.5")
    assert settings == RunSettings(
        input="in", out="out", method="linear", voxel_size=1.5, tiling={"patch": 48}, selection={"suffix": ("T2w",)}
    )


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("voxel_size: 0", r"settings: expected voxel_size to be greater than 0\.1, but got 0 for voxel_size\. Correct it"),
        ("metod: cubic", r"settings: expected no setting metod, but got 'cubic' for metod\. Correct it"),
        ("voxel-size: 2", r"no setting voxel-size, but got 2 for voxel-size\. Write voxel_size: … in the file"),
        ("suffix: [T1w]", r"no setting suffix, .*\. Write selection: \{suffix: …\} in the file"),
        ("selection: {patch: 64}", r"no setting selection\.patch, .*\. Write tiling: \{patch: …\} in the file"),
        ("[1, 2]", r"expected a mapping of settings by name, but got list"),
        ("a: [", r"config-file: expected a YAML file"),
        ("method: cubic\nseed: 1\nmethod: linear", r"config-file: .*method more than once.* line 1"),
        ("compute:\n  workers: 1\n  workers: 2", r"config-file: .*workers more than once.* line 2"),
        ("compute: 3", r"settings: expected compute to be .*, but got 3 for compute"),
        ("selection: {participant_label: [01, 07]}", r'\.0 to be a text .*, but got 1 for .*\. Put .* in quotes \("01"\)'),
        ("selection: {suffix: [no]}", r"suffix\.0 to be a text, but got False .*\. Put texts .*, yes and no in quotes"),
        ("selection: {participant_label: '01'}", r"participant_label to be a list, but got '01' for .*\. Write a list \(\["),
        ("# seed: 1", r"expected a mapping of settings by name, but got nothing"),
        ("compute: [workers]", r"settings: expected compute to be .*, but got \['workers'\] for compute"),
    ],
)
def test_a_wrong_file_is_told_with_the_remedy(tmp_path: Path, content: str, match: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(content)
    for more in ("", " --workers 2"):
        with pytest.raises(UsageError, match=match):
            parse(f"in out --config {file}{more}")


def test_a_section_with_nothing_below_it_says_nothing(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("compute:\n  # workers: 4\nselection:\nmodel:\nquality: &all {max_blur: 2}\n")
    assert parse(f"in out --config {file}") == RunSettings(input="in", out="out", quality={"max_blur": 2})
    assert parse(f"in out --config {file} --workers 3").compute.workers == 3


def test_bids_apps_order_is_run() -> None:
    assert cli._bids_app(["data", "out", "participant", "--participant-label", "01"]) == [
        "run",
        "data",
        "out",
        "--participant-label",
        "01",
    ]
    assert cli._bids_app(["run", "data", "out"]) == ["run", "data", "out"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "{tmp}/nowhere", "{tmp}/out"], "input-missing: expected"),
        (["run", "{tmp}", "{tmp}/out", "--method", "magic"], "unet-3d, resunet-3d, but got magic"),
        (["run", "{tmp}", "{tmp}/out", "--method", "cubic", "--method-options", "x=1"], "options of cubic"),
        (["run", "{tmp}", "{tmp}/out", "--method-options", "rounds=[1"], "option-form: expected a value of rounds as YAML"),
        (["run", "{tmp}", "{tmp}/out", "--method", "cubic", "--fuse"], "a method that fuses"),
        (["run", "{tmp}", "{tmp}/out", "--method", "network"], "weights for the method network"),
        (["status", "{tmp}/out"], "Name the OUT of a run"),
    ],
)
def test_usage_errors_exit_2_with_the_remedy(tmp_path: Path, capsys, words: list[str], told: str) -> None:
    assert cli.main([word.format(tmp=tmp_path) for word in words]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["plan", "run", "train", "simulate", "evaluate", "harmonize"])
def test_what_a_cluster_needs_is_told_before_anything_is_started(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clusters, "find_spec", lambda _: None)
    monkeypatch.setattr(subprocess, "Popen", None)
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    words = {
        "train": ["unet-3d", source],
        "evaluate": ["thick-slice", source, "--methods", "cubic", "--out", out],
        "harmonize": [f"a={source}", f"b={source}", out],
    }
    said = map(str, words.get(command, [source, out]))
    assert cli.main([command, *said, "--cluster", "slurm", "--memory-limit", "1GiB"]) == 3
    told = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"extra-missing: expected dask-jobqueue .*: make -C \S+ setup EXTRAS=slurm", told)
    assert not out.exists()


def test_an_unknown_option_exits_2(capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["run", "in", "out", "--metod", "cubic"])
    told = "isovox: Unrecognized arguments: --metod cubic. --metod: did you mean --method? See isovox run --help."
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "train", "simulate", "evaluate", "harmonize", "monitor", "deploy", "up"])
def test_help_names_no_default_where_there_is_none(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    assert "Undefined" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("plan in out --particpant-label 01", "--particpant-label: did you mean --participant-label?"),
        ("run in out --voxelsize 2", "--voxelsize: did you mean --voxel-size?"),
        ("plann in out", "did you mean plan?"),
        ("run in out --method unires --iterations 3", "--iterations is an option of unires: --method-options iterations=…"),
        ("run in out --method=unires --iterations 3", "--iterations is an option of unires: --method-options iterations=…"),
    ],
)
def test_a_word_that_is_typed_wrong_suggests_the_near_one(words: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words.split())
    assert ended.value.code == 2
    assert hint in capsys.readouterr().err


def told_by(*words: object) -> str:
    done = subprocess.run([sys.executable, "-m", "cli", *map(str, words)], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2
    return done.stderr


def test_verbose_shows_where_an_error_came_from_and_else_it_is_one_line(tmp_path: Path) -> None:
    plain, verbose = (told_by("status", tmp_path / "none", *words) for words in ((), ("--verbose",)))
    assert plain.count("\n") == 1
    assert "Traceback (most recent call last)" in verbose
    assert verbose.endswith(plain)


def test_what_ends_a_flow_is_left_to_the_one_line_that_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    console.calm()
    assert logging.getLevelName(os.environ["PREFECT_LOGGING_LEVEL"]) > logging.ERROR  # which Prefect's traceback is


def test_every_command_and_those_of_a_command_take_verbose() -> None:
    for words in (["run", "in", "out"], ["verify", "out"], ["models", "list"], ["demo", "out"]):
        assert cli._parser(words[0], words).parse_args([*words, "--verbose"]).verbose


def test_logs_go_where_errors_go_at_that_moment_and_to_children() -> None:
    code = """
import io, logging, os, sys
from core import logs
logs.show(); logs.show()
sys.stderr = bar = io.StringIO()
logging.getLogger("tasks.restore").info("goes on from step %d", 3)
logging.getLogger("tasks.restore").debug("no")
print(bar.getvalue().count("INFO    tasks.restore: goes on from step 3"), bar.getvalue().count(chr(10)), os.environ[logs.SHOWN])
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout == "1 1 1\n"


def test_a_run_ends_with_what_is_to_be_known_of_all_scans(tmp_path, capsys):
    bids(tmp_path / "in", "01")
    settings = {"input": str(tmp_path / "in"), "out": str(tmp_path / "out"), "voxel_size": 6, "method": "nearest"}
    show_all([], Output(settings["out"]), plan_cohort(RunSettings.model_validate(settings)))
    assert "note: 1 scan has voxels of" in capsys.readouterr().out


def test_harmonisation_is_named_among_what_can_be_evaluated(tmp_path, capsys):
    assert cli.main(["evaluate", "harmonisatoin", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "srmri, harmonisation" in told
    assert "Did you mean harmonisation?" in told
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "--help"])
    assert "or harmonisation:" in " ".join(capsys.readouterr().out.split())
