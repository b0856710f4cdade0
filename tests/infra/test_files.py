"""Images, compose, Kubernetes, SLURM and Apptainer: well formed, pinned, closed to the outside, without a secret, and true."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from infra import prefect_page, programs
from infra.healthcheck import why_not
from infra.quiet import QUIET
from tests.infra.deployed import (
    COMPOSE,
    DOCKERFILES,
    INFRA,
    ROOT,
    RUN_SECRETS,
    SCRIPTS,
    commands,
    compose,
    environments,
    instructions,
    manifests,
    of_kind,
    pods,
    sections,
    variables,
)

PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?")
TEXTS = [
    path for path in INFRA.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"} and "secrets" not in path.parts
]


def program(name: str) -> str:
    """A linter beside Python."""
    found = Path(sys.executable).with_name(name)
    if not found.exists():
        pytest.skip(f"needs {name}: make setup")
    return str(found)


def test_yaml_parses_and_says_something() -> None:
    paths = sorted(INFRA.rglob("*.yaml"))
    assert len(paths) >= 10
    assert all(all(yaml.safe_load_all(path.read_text())) for path in paths)


def test_every_image_is_pinned() -> None:
    images = [service["image"] for service in compose()["services"].values()]
    images += [one["image"] for pod in pods().values() for one in pod["containers"]]
    images += [rest.split()[0] for path in DOCKERFILES for word, rest in instructions(path) if word == "FROM"]
    images += re.findall(r"^From: (\S+)", sections()[""], re.MULTILINE)
    assert len(images) >= 14
    assert [image for image in images if not PINNED.fullmatch(image)] == []


def test_what_is_installed_is_locked() -> None:
    texts = [path.read_text() for path in DOCKERFILES] + [sections()["post"]]
    for text in texts:
        assert re.search(r"--requirement /\S+/requirements\.lock", text)
        assert re.search(r"pip install --no-cache-dir --no-deps (\.|/opt/src)", text)
    torch = next(line for line in (ROOT / "requirements.lock").read_text().splitlines() if line.startswith("torch=="))
    assert torch in (INFRA / "docker" / "Dockerfile.cpu").read_text()
    gpu = re.search(r'gpu = \["(.+?)"\]', (ROOT / "pyproject.toml").read_text())
    assert gpu
    assert all(f'"{gpu[1]}"' in text for text in texts[1:])


def test_ports_are_of_loopback_or_internal() -> None:
    ports = [port for service in compose()["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)
    assert compose()["networks"]["inside"] == {"internal": True}
    assert {service["spec"]["type"] for service in of_kind("Service").values()} == {"ClusterIP"}
    text = json.dumps(manifests())
    assert "Ingress" not in {one["kind"] for one in manifests()}
    assert not re.search(r"hostPort|hostNetwork|NodePort|LoadBalancer|hostPath", text)
    for name, environment in environments():
        if "worker" in name:
            assert environment["ISOVOX_HEALTH"].startswith("http://127.0.0.1:")
    assert all(variables(path)["PREFECT_WORKER_WEBSERVER_HOST"] == "127.0.0.1" for path in DOCKERFILES)


def test_no_secret_stands_in_a_file() -> None:
    for name, environment in environments():
        for key, value in environment.items():
            if re.search(r"PASSWORD|SECRET|TOKEN|AUTH_STRING|ACCESS_KEY", key):
                assert RUN_SECRETS.fullmatch(value), f"{name}: {key}"
    assert [path for path in TEXTS if re.search(r"://[^/\s@:]+:[^/\s@]+@", path.read_text())] == []
    assert "Secret" not in {one["kind"] for one in manifests()}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that secrets.sh makes."""
    folder = tmp_path_factory.mktemp("compose")
    shutil.copy(INFRA / "compose" / "secrets.sh", folder)
    said = subprocess.run([folder / "secrets.sh"], capture_output=True, text=True, check=True)
    inside = [path.read_text().strip() for path in (folder / "secrets").iterdir()]
    assert [text for text in inside if len(text) > 10 and text in said.stdout + said.stderr] == []
    return folder / "secrets"


def test_secrets_are_drawn_once_for_their_owner_alone(drawn: Path) -> None:
    assert stat.S_IMODE(drawn.stat().st_mode) == 0o700
    before = {path.name: path.read_text() for path in drawn.iterdir()}
    subprocess.run([drawn.parent / "secrets.sh"], capture_output=True, check=True)
    assert {path.name: path.read_text() for path in drawn.iterdir()} == before
    words = [before[name].strip() for name in ("postgres_password", "mlflow_password", "mlflow_sessions", "s3_secret")]
    assert len(set(words)) == 4
    assert min(map(len, words)) > 30
    assert before["prefect_login"].startswith("isovox:")
    assert before["mlflow_password"].strip() in before["mlflow_users.ini"]
    assert json.loads(before["s3.json"])["identities"][0]["credentials"][0]["secretKey"] == before["s3_secret"].strip()
    ignored = [(ROOT / name).read_text().splitlines() for name in (".gitignore", ".dockerignore")]
    assert "/infra/compose/secrets/" in ignored[0]
    assert "infra/compose/secrets" in ignored[1]


def test_each_service_has_the_secrets_that_it_names_and_no_others(drawn: Path) -> None:
    files = {path.name for path in drawn.iterdir()}
    assert set(compose()["secrets"]) == files
    for service in compose()["services"].values():
        named = set(RUN_SECRETS.findall(json.dumps([service.get("environment", {}), service.get("command", [])])))
        assert named == set(service.get("secrets", []))
    for pod in pods().values():
        (volume,) = [one["secret"] for one in pod["volumes"] if "secret" in one]
        assert (
            {one["key"] for one in volume["items"]} == set(RUN_SECRETS.findall(json.dumps(pod["containers"][0]["env"]))) <= files
        )


@lru_cache
def help_of(*words: str) -> str:
    done = subprocess.run(
        [program(words[0]), *words[1:], "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, **QUIET, "COLUMNS": "200"},
        check=True,
    )
    return done.stdout + done.stderr


def test_commands_and_their_options_exist() -> None:
    seen = set()
    for name, words in commands():
        head = words[: next(index for index, word in enumerate(words) if word.startswith("-"))]
        if head[0] == "server":  # of seaweedfs
            continue
        text = help_of(*head)
        seen.add(" ".join(head))
        assert [word for word in words if word.startswith("--") and word not in text] == [], name
    assert seen == {"python", "prefect worker start", "mlflow server"}


def test_prefects_servers_have_no_pages_that_ask_outside_hosts() -> None:
    servers = {name: words for name, words in commands() if words[0] == "python"}
    assert len(servers) == 2  # of compose and of Kubernetes
    for words in servers.values():
        assert words == ["python", "-m", prefect_page.__name__, "0.0.0.0", "4200", prefect_page.ELSEWHERE]  # noqa: S104


def test_options_of_the_object_store_exist() -> None:
    (words,) = [service["command"] for name, service in compose()["services"].items() if name == "s3"]
    said = subprocess.run([program("weed"), "help", "server"], capture_output=True, text=True, check=False)
    known = set(re.findall(r"^\s+-([\w.]+)", said.stdout + said.stderr, re.MULTILINE))
    assert {word[1:].partition("=")[0] for word in words[1:]} <= known


def test_settings_of_prefect_exist_and_telemetry_is_off() -> None:
    from prefect.settings.legacy import _get_valid_setting_names
    from prefect.settings.models.root import Settings

    known = _get_valid_setting_names(Settings)
    for path in DOCKERFILES:
        assert QUIET.items() <= variables(path).items()
    asked = {key for path in DOCKERFILES for key in variables(path)}
    asked |= {key.removeprefix("ISOVOX_SECRET_") for _, environment in environments() for key in environment}
    assert {key for key in asked if key.startswith("PREFECT_") and "LOGGING_HANDLERS" not in key} - known == set()
    quiet = {line.split("export ")[1].split("=")[0] for line in sections()["environment"].splitlines() if "export" in line}
    assert {
        "DO_NOT_TRACK",
        "MLFLOW_DISABLE_TELEMETRY",
        "PREFECT_SERVER_ANALYTICS_ENABLED",
        "PREFECT_SERVER_UI_V2_ENABLED",
    } <= quiet


def test_prefects_servers_know_after_a_restart_which_runs_hold_a_slot() -> None:
    servers = {name: settings for name, settings in environments() if name.endswith(" prefect")}
    assert len(servers) == 2
    assert {settings.get("PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE") for settings in servers.values()} == {programs.LEASES}
    assert all(variables(path)["PREFECT_HOME"].startswith("/data/") for path in DOCKERFILES)  # where they lie: in the volume


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfiles(path: Path) -> None:
    steps = instructions(path)
    said = dict(steps)
    assert said["USER"] == "10001:10001"
    assert [word for word, _ in steps].index("USER") > max(i for i, (word, _) in enumerate(steps) if word == "RUN")
    assert json.loads(said["HEALTHCHECK"].partition("CMD ")[2]) == ["python", "-m", "infra.healthcheck"]
    sources = [one for word, rest in steps if word == "COPY" for one in rest.split()[:-1] if not one.startswith("--")]
    assert all((ROOT / one).exists() for one in sources)
    taken = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {one.partition("/")[0] for one in sources} <= taken
    done = subprocess.run([program("hadolint"), str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_both_images_are_alike_but_for_torch() -> None:
    tails = [path.read_text().partition("\nWORKDIR /src\n")[2] for path in DOCKERFILES]
    assert tails[0] == tails[1] != ""


def test_shell_scripts(tmp_path: Path) -> None:
    post = tmp_path / "post.sh"
    post.write_text("#!/bin/sh\n" + sections()["post"] + sections()["environment"])
    done = subprocess.run([program("shellcheck"), *map(str, SCRIPTS), str(post)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert all(os.access(path, os.X_OK) for path in SCRIPTS[:2])


def test_compose_is_as_its_schema_says() -> None:
    done = subprocess.run(
        [program("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(COMPOSE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    services = compose()["services"]
    assert services["worker-gpu"]["profiles"] == ["gpu"]
    assert services["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    healthy = {name for name, service in services.items() if "healthcheck" in service or service["image"].startswith("isovox:")}
    for service in services.values():
        assert "no-new-privileges:true" in service["security_opt"]
        assert {name for name, how in service.get("depends_on", {}).items() if how["condition"] == "service_healthy"} <= healthy
        used = [volume.partition(":")[0] for volume in service.get("volumes", [])]
        assert all(name in compose()["volumes"] or (COMPOSE.parent / name).exists() for name in used)


def test_the_object_stores_image_may_become_its_user() -> None:
    """It starts as root and calls chown, setgroups and setuid: without these three it ends at once."""
    store = compose()["services"]["s3"]
    assert store["cap_drop"] == ["ALL"]
    assert set(store["cap_add"]) == {"CHOWN", "SETGID", "SETUID"}


def test_manifests_are_as_their_schemas_say() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate: make setup")
    for one in manifests():
        validate.validate(one, validate.latest_version(), strict=True)
    listed = yaml.safe_load((INFRA / "kubernetes" / "kustomization.yaml").read_text())["resources"]
    assert {*listed, "kustomization.yaml"} == {path.name for path in (INFRA / "kubernetes").iterdir()}


def test_pods_may_do_little_and_say_what_they_need() -> None:
    claims = of_kind("PersistentVolumeClaim")
    assert of_kind("Namespace")["isovox"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for name, pod in pods().items():
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["automountServiceAccountToken"] is pod["enableServiceLinks"] is False
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert container["resources"]["limits"]["memory"]
        assert "startupProbe" in container
        assert (container["resources"]["limits"].get("nvidia.com/gpu") == 1) == (name == "worker-gpu")
        assert {one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"] if "persistentVolumeClaim" in one} <= set(
            claims
        )
        assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
    assert "worker-gpu" in pods()


def test_only_what_is_named_may_talk() -> None:
    rules = of_kind("NetworkPolicy")
    assert rules["nothing"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    open_wide = [name for name, rule in rules.items() for way in rule["spec"].get("ingress", []) if "from" not in way]
    assert open_wide == []
    ends = {rule["podSelector"]["matchLabels"]["app"] for rule in (rules["postgres"]["spec"],)}
    assert ends == {"postgres"}


def test_kustomize_renders_it() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl")
    done = subprocess.run([kubectl, "kustomize", str(INFRA / "kubernetes")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = list(yaml.safe_load_all(done.stdout))
    assert len(made) == len(manifests())
    assert {one["metadata"].get("namespace", "isovox") for one in made} == {"isovox"}


def test_compose_and_kubernetes_run_the_same() -> None:
    told = dict(commands())
    settings = dict(environments())
    for name in ("prefect", "mlflow", "worker", "worker-gpu"):
        assert told[f"compose {name}"] == told[f"kubernetes {name}"]
        here, there = (
            {k: RUN_SECRETS.sub(r"\1", v) for k, v in settings[f"{place} {name}"].items()} for place in ("compose", "kubernetes")
        )
        assert {key for key in here if here[key] != there.get(key)} <= {"AWS_ENDPOINT_URL"}


# -- the scripts, run ---------------------------------------------------------------------------------------------------------


def test_the_entrypoint_makes_secrets_of_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("two words $HOME `x`\n")
    environment = {"PATH": os.environ["PATH"], "ISOVOX_SECRET_MY_WORD": str(secret), "AWS_CONFIG_FILE": "/not/there"}
    entry = str(INFRA / "docker" / "entrypoint.sh")
    done = subprocess.run([entry, "env"], capture_output=True, text=True, env=environment, check=True)
    assert "MY_WORD=two words $HOME `x`" in done.stdout.splitlines()
    assert "AWS_CONFIG_FILE=/not/there" in done.stdout.splitlines()
    wrong = subprocess.run(
        [entry, "env"], capture_output=True, text=True, env=environment | {"ISOVOX_SECRET_OTHER": "/not/there"}, check=False
    )
    assert wrong.returncode == 78
    assert re.search(r"OTHER: expected a secret in /not/there, but got none.*\. Mount it", wrong.stderr)
    assert wrong.stdout == ""


@pytest.fixture
def server() -> Iterator[str]:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{one.server_port}"
        one.shutdown()


def test_the_health_check(server: str) -> None:
    assert why_not({"ISOVOX_HEALTH": f"{server}/health"}) == ""
    assert "503" in why_not({"ISOVOX_HEALTH": f"{server}/other"})
    assert "refused" in why_not({"ISOVOX_HEALTH": "http://127.0.0.1:9/health"})
    assert why_not({}) == ""
    command = [sys.executable, "-m", "infra.healthcheck"]
    for path, code in (("health", 0), ("other", 1)):
        environment = {**os.environ, "ISOVOX_HEALTH": f"{server}/{path}"}
        assert subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=False).returncode == code


def fake(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/bash\n{text}\n")
    (folder / name).chmod(0o755)


def test_the_slurm_driver_runs_isovox_as_it_can_be_run(tmp_path: Path) -> None:
    from cli.run import add_arguments

    fake(tmp_path, "isovox", 'printf "%s\\n" "$@"; echo "$DASK_CONFIG" >&2')
    fake(tmp_path, "sbatch", 'cp "$1" job.sh; shift; SLURM_SUBMIT_DIR=$PWD exec bash job.sh "$@"')  # SLURM runs a copy
    (tmp_path / "infra" / "slurm").mkdir(parents=True)
    shutil.copy(INFRA / "slurm" / "jobqueue.yaml", tmp_path / "infra" / "slurm")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "WORKERS": "40"}
    script = str(INFRA / "slurm" / "driver.sbatch")

    def submit(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["sbatch", script, *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)

    done = submit("/data/a b", "/out", "--method", "unires")
    words = done.stdout.splitlines()
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    options = vars(parser.parse_args(words[1:]))
    assert words[0] == "run"
    assert (options["input"], options["out"], options["method"]) == ("/data/a b", "/out", "unires")
    assert options["compute.cluster"] == "slurm"
    assert options["compute.workers"] in {40, "40"}
    assert done.stderr.strip() == str(tmp_path / "infra" / "slurm" / "jobqueue.yaml")
    assert submit("/data").returncode == 2
    words = submit("/data", "/out", "--workers", "12", "--memory-limit", "9GiB", "--suffix", "T1w").stdout.splitlines()
    said = vars(parser.parse_args(words[1:]))
    assert (said["compute.workers"], said["compute.memory_limit"]) == ("12", "9GiB")


@pytest.mark.parametrize("set_up", [True, False])
def test_the_slurm_driver_takes_the_isovox_of_make_setup_where_none_is_on_the_path(tmp_path: Path, set_up: bool) -> None:
    if set_up:
        (tmp_path / ".venv" / "bin").mkdir(parents=True)
        fake(tmp_path / ".venv" / "bin", "isovox", 'echo "ran $1"')
    command = ["bash", str(INFRA / "slurm" / "driver.sbatch"), "/data", "/out"]
    environment = {"PATH": "/usr/bin:/bin", "SLURM_SUBMIT_DIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    if set_up:
        assert (done.returncode, done.stdout) == (0, "ran run\n")
    else:
        assert done.returncode == 127
        assert f"no isovox on the PATH, nor at {tmp_path}/.venv/bin/isovox: activate its environment" in done.stderr


def test_dask_takes_the_settings_of_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dask.config

    monkeypatch.chdir(tmp_path)  # certificates are written there

    found = dask.config.collect(paths=[str(INFRA / "slurm")], env={})["jobqueue"]["slurm"]
    assert found["walltime"]
    jobqueue = pytest.importorskip("dask_jobqueue", reason="needs isovox[slurm]")
    with dask.config.set({"jobqueue.slurm": dask.config.merge(dask.config.get("jobqueue.slurm"), found)}):
        script = jobqueue.SLURMCluster(cores=1, memory="4GiB", security=True).job_script()
    assert "#SBATCH --requeue" in script


def test_the_apptainer_definition() -> None:
    found = sections()
    assert set(found) == {"", "files", "post", "environment", "runscript", "test", "labels"}
    assert found[""].count("Bootstrap: docker") == 1
    assert all((ROOT / line.split()[0]).exists() for line in found["files"].splitlines() if line.strip())
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert f"version {version[1]}" in found["labels"]
    assert {service["image"] for service in compose()["services"].values() if "isovox:" in service["image"]} == {
        f"isovox:{version[1]}-cpu",
        f"isovox:{version[1]}-cuda",
    }


def test_commands_of_the_page_exist() -> None:
    from cli.main import COMMANDS

    text = (INFRA / "README.md").read_text()
    assert len(text.splitlines()) <= 80
    blocks = "\n".join(re.findall(r"```\n(.*?)```", text, re.DOTALL) + re.findall(r"`(isovox [a-z]+)", text))
    said = set(re.findall(r"(?:^\s*|\\\n\s*)isovox ([a-z]+)", blocks, re.MULTILINE))
    assert {"deploy", "up", "plan"} <= said <= set(COMMANDS)
    named = re.findall(r"`((?:infra|docker|compose|kubernetes|slurm|apptainer)/[\w./-]+)`", text)
    assert len(named) >= 5
    assert all((ROOT / name).exists() or (INFRA / name).exists() for name in named)
