"""What the files of infra/ say, as values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
COMPOSE = INFRA / "compose" / "compose.yaml"
DOCKERFILES = sorted((INFRA / "docker").glob("Dockerfile.*"))
SCRIPTS = [INFRA / "docker" / "entrypoint.sh", INFRA / "compose" / "secrets.sh", INFRA / "slurm" / "driver.sbatch"]
RUN_SECRETS = re.compile(r"/run/secrets/(?:isovox/)?([\w.]+)")


@lru_cache(maxsize=1)
def compose() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text())


@lru_cache(maxsize=1)
def manifests() -> list[dict[str, Any]]:
    """All objects of Kubernetes but the kustomization."""
    paths = sorted((INFRA / "kubernetes").glob("*.yaml"))
    return [one for path in paths if path.name != "kustomization.yaml" for one in yaml.safe_load_all(path.read_text())]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    """Objects by name."""
    return {one["metadata"]["name"]: one for one in manifests() if one["kind"] == kind}


def pods() -> dict[str, dict[str, Any]]:
    return {name: one["spec"]["template"]["spec"] for name, one in of_kind("Deployment").items()}


def environments() -> Iterator[tuple[str, dict[str, str]]]:
    """The environment of each service, in compose and in Kubernetes."""
    for name, service in compose()["services"].items():
        yield f"compose {name}", {key: str(value) for key, value in service.get("environment", {}).items()}
    for name, pod in pods().items():
        yield f"kubernetes {name}", {one["name"]: one["value"] for one in pod["containers"][0]["env"]}


def commands() -> Iterator[tuple[str, list[str]]]:
    """The command of each service, in compose and in Kubernetes."""
    for name, service in compose()["services"].items():
        if command := service.get("command"):
            yield f"compose {name}", [str(word) for word in command]
    for name, pod in pods().items():
        if command := pod["containers"][0].get("args"):
            yield f"kubernetes {name}", [str(word) for word in command]


def instructions(path: Path) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile, each on one line."""
    lines = re.sub(r"\\\n", " ", path.read_text()).splitlines()
    return [(word, rest.strip()) for line in lines if line and line[0] != "#" for word, _, rest in [line.partition(" ")]]


def variables(path: Path) -> dict[str, str]:
    """All that ENV sets."""
    pairs = [pair for word, rest in instructions(path) if word == "ENV" for pair in rest.split()]
    return dict(pair.split("=", 1) for pair in pairs)


def sections() -> dict[str, str]:
    """The sections of the Apptainer definition; the lines before them under ""."""
    text = (INFRA / "apptainer" / "isovox.def").read_text()
    parts = re.split(r"^%(\w+)\n", text, flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}
