"""What ``isovox deploy`` is told: cohorts, schedules and who is to be notified; each mistake is named before anything is made."""

from __future__ import annotations

import datetime as dt
from contextlib import nullcontext
from pathlib import Path

import httpx
import pytest

from cli.deploy import _apart, server
from cli.main import main
from core.errors import UsageError
from deployments.automations import MISSED, arrivals, crashed, notices
from deployments.cohorts import Cohort, Schedule, cohort_of, local_timezone, merged
from deployments.notifications import block_of
from deployments.register import schedules_of
from flows.runs.group import of_group
from infra.quiet import ServiceError
from tests.deployments.cohorts import phantoms


def answered(status: int) -> httpx.HTTPStatusError:
    """What a server answered, as Prefect's client raises it."""
    request = httpx.Request("GET", "http://x/api")
    return httpx.HTTPStatusError("no", request=request, response=httpx.Response(status, request=request))


UUID = "00000000-0000-0000-0000-000000000001"


def test_a_cohort_is_read_from_its_three_words(tmp_path: Path) -> None:
    source = phantoms(tmp_path / "bids", 1)
    cohort = cohort_of(f"study={source}={tmp_path}/out", {"method": "unires"})
    assert (cohort.name, cohort.settings) == ("study", {"method": "unires", "input": str(source), "out": f"{tmp_path}/out"})


@pytest.mark.parametrize(
    ("said", "how", "told"),
    [
        ("study=/in", {}, "cohort-form: expected NAME=INPUT=OUT"),
        ("study=/in=/out=x", {}, "cohort-form"),
        ("My Study={}=/out", {}, "cohort-name: expected a name of lower-case"),
        ("study=/nowhere=/out", {}, "input-missing: expected the input of cohort study, but got nothing at /nowhere"),
        (
            "study={}=/out",
            {"voxel_size": 0},
            "settings: expected of cohort study voxel_size to be greater than 0.1, but got 0 for voxel_size",
        ),
    ],
)
def test_a_cohort_that_cannot_be_is_refused(tmp_path: Path, said: str, how: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        cohort_of(said.format(tmp_path), how)


def test_what_a_cohort_names_is_found_from_where_a_worker_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phantoms(tmp_path / "bids", 1)
    monkeypatch.chdir(tmp_path)
    chosen = {"exclude": ["ratings.tsv", "run-02"], "suffix": ["T1w"]}
    how = {"method": "unet-3d", "model": "own", "reference": "truth", "selection": chosen}
    settings = cohort_of("study=bids=out", how).settings
    assert (settings["model"], settings["reference"]) == (f"{tmp_path}/own", f"{tmp_path}/truth")
    assert settings["selection"] == {"exclude": [f"{tmp_path}/ratings.tsv", "run-02"], "suffix": ["T1w"]}
    named = cohort_of(
        "study=bids=out", {"method": "unet-3d", "model": "models:/unet@champion", "reference": "s3://bucket/truth"}
    ).settings
    assert (named["model"], named["reference"]) == ("models:/unet@champion", "s3://bucket/truth")


def test_a_cohort_that_would_be_refused_each_night_is_refused_at_once(tmp_path: Path) -> None:
    source = phantoms(tmp_path / "bids", 1)
    with pytest.raises(UsageError, match="out-is-input"):
        cohort_of(f"study={source}={source}", {})
    with pytest.raises(UsageError, match="out-in-input"):
        cohort_of(f"study={source}={source}/restored", {})


@pytest.mark.parametrize("words", [["--poll", "-5"], ["--heartbeat", "0"], ["--late", "soon"], ["--quiet-seconds", "-1"]])
def test_times_that_cannot_be_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["deploy", *words])
    assert "expected a whole number of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (httpx.ConnectError("refused"), r"server-gone: expected a Prefect server at http://x/api, but got refused\. Start it"),
        (answered(401), "server-forbidden: .* takes the password, but got Unauthorized"),
    ],
)
def test_a_server_that_has_gone_or_takes_no_password_is_told(
    fault: Exception, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://x/api")
    monkeypatch.setattr("prefect.client.orchestration.get_client", lambda **_: nullcontext(None))
    with pytest.raises(ServiceError, match=told), server():
        raise fault
    with pytest.raises(httpx.HTTPStatusError), server():
        raise answered(500)


@pytest.mark.parametrize("names", [("study", "other", "study"), ("reprocess-cohort",)])
def test_no_cohort_takes_the_place_of_another(names: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=f"cohort-twice: expected a name of its own for each cohort, but got {names[0]}"):
        _apart([Cohort(name, {"out": f"/{at}"}) for at, name in enumerate(names)])
    _apart([Cohort("study", {"out": "/a"}), Cohort("other", {"out": "/b"})])
    with pytest.raises(UsageError, match=r"cohort-out-twice: .*, but got /b/../a for study and other"):
        _apart([Cohort("study", {"out": "/a"}), Cohort("other", {"out": "/b/../a"})])


def test_settings_of_the_group_yield_to_what_was_said() -> None:
    group = of_group({"MLFLOW_TRACKING_URI": "http://127.0.0.1:5000", "ISOVOX_CLUSTER": "tls://127.0.0.1:8786"})
    how = merged(group, {"compute": {"workers": 4}})
    assert how == {"tracking_uri": "http://127.0.0.1:5000", "compute": {"cluster": "tls://127.0.0.1:8786", "workers": 4}}
    assert merged(group, {"compute": {"cluster": "local"}})["compute"] == {"cluster": "local"}


def test_nights_are_thorough_and_polls_are_quick() -> None:
    nightly, poll = schedules_of(Schedule("0 2 * * *", "Europe/Berlin", 10))
    assert (nightly.schedule.cron, nightly.schedule.timezone, nightly.parameters) == (
        "0 2 * * *",
        "Europe/Berlin",
        {"quick": False},
    )
    assert (poll.schedule.interval, poll.parameters) == (dt.timedelta(minutes=10), {"quick": True})
    assert list(schedules_of(Schedule())) == []


def test_a_schedule_that_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="cron: expected minute hour day month weekday"):
        schedules_of(Schedule("at two", "UTC"))


@pytest.mark.parametrize("zone", ["Mars/Olympus", "CET-1CEST,M3.5.0,M10.5.0/3"])
def test_a_time_zone_that_has_no_name_is_refused_as_such(zone: str) -> None:
    with pytest.raises(UsageError, match=f"time zone, such as .* but got '{zone}'. Name it by --timezone"):
        schedules_of(Schedule("0 2 * * *", zone))


def test_the_time_zone_is_a_name() -> None:
    from zoneinfo import ZoneInfo

    assert ZoneInfo(local_timezone())


def test_the_time_zone_of_a_file_has_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    zones = tmp_path / "zoneinfo" / "Europe"
    zones.mkdir(parents=True)
    (zones / "Berlin").touch()
    (tmp_path / "localtime").symlink_to(zones / "Berlin")
    monkeypatch.setenv("TZ", f":{tmp_path / 'localtime'}")
    assert local_timezone() == "Europe/Berlin"


def test_a_run_is_dead_after_three_heartbeats_and_only_ours() -> None:
    trigger = crashed(60).trigger
    assert trigger.within == dt.timedelta(seconds=MISSED * 60)
    assert MISSED >= 3
    assert trigger.for_each == {"prefect.resource.id"}
    assert trigger.match_related["prefect.resource.id"] == ["prefect.tag.isovox"]


def test_what_arrives_together_is_one_run_that_begins_when_all_is_there() -> None:
    made = arrivals("study", UUID, 30)
    assert made.trigger.within == made.actions[0].schedule_after == dt.timedelta(seconds=30)
    assert made.trigger.match["prefect.resource.id"] == ["isovox.cohort.study"]


def test_all_are_told_of_failed_flagged_and_late() -> None:
    made = notices([UUID, UUID], 15)
    kinds = ["failed", "crashed", "flagged", "late"]
    assert [one.name for one in made] == [f"isovox: {kind} cohorts" for kind in kinds]
    alone = notices([UUID, UUID], 15, supervised=False)
    assert [one.name for one in alone] == [f"isovox: {kind} cohorts" for kind in kinds if kind != "crashed"]
    assert "prefect.flow-run.Crashed" in alone[0].trigger.expect - made[0].trigger.expect
    assert all(len(one.actions) == 2 for one in made)


def test_a_notification_goes_where_it_was_said_and_its_address_is_a_secret() -> None:
    kind, webhook = block_of("webhook=https://example.org/hook?token=abc")
    assert kind == "webhook"
    assert "abc" not in repr(webhook)
    slack = block_of("slack=env:HOOK", {"HOOK": "https://hooks.slack.com/services/A1/B2/C3"})[1]
    assert "A1" not in repr(slack)
    mail = block_of("email=jane@example.org", {"ISOVOX_SMTP": "smtps://me:word@mail.example.org:465?from=bot@example.org"})[1]
    url = mail.url.get_secret_value()
    assert url.startswith("mailtos://me:word@mail.example.org:465?smtp=mail.example.org&from=bot%40example.org&to=jane%40")
    assert "word" not in repr(mail)


@pytest.mark.parametrize("said", ["pigeon=x", "webhook", "webhook=ftp://x", "email=jane", "slack=env:NOT_SET_HERE"])
def test_a_notification_that_cannot_be_sent_is_refused(said: str) -> None:
    with pytest.raises(UsageError, match="notify-form"):
        block_of(said)
