"""Models by name, version and alias in MLflow's registry, with digests; never pickles.

They are the folders of ``core.models.bundle``, and of ``core.harmonize.model``.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from core.digest import digest_of
from core.errors import UsageError, WeightsError
from core.harmonize import model as harmonizers
from core.io import files
from core.models import bundle as bundles
from core.models.bundle import Bundle
from tasks.tracking.address import without_password
from tasks.tracking.tracker import experiment_id

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

EXPERIMENT = "isovox models"
SHA256, DIGEST = "isovox.sha256", "isovox.digest"
BESIDE = "isovox.beside"  # tag of a version whose domain, calibration or card was renewed: their digest
URI = re.compile(r"models:/(?P<name>[\w .-]+)(@(?P<alias>[\w.-]+)|/(?P<version>\d+))")
Spec = Bundle | harmonizers.Harmonizer


@dataclass(frozen=True)
class Resolved:
    """A model as a run uses it; a plan keeps this, so that an alias that moves on changes nothing in mid-cohort.

    Attributes:
        folder: on this machine (or as it was given), with the weights and their config.
        name: in the registry; the folder's own name where it is not from there.
        version: in the registry; empty where it is not from there.
        sha256: of model.safetensors (of a harmoniser's numbers).
        digest: of the whole model, config included.
    """

    folder: str
    name: str
    version: str
    sha256: str
    digest: str


def check_name(name: str) -> None:
    """Refuse a name that no model can have.

    Raises:
        UsageError: model-name.
    """
    if not URI.fullmatch(f"models:/{name}/1") or not name.strip() or name == "." or name.startswith(".."):
        wanted = "a name of letters, digits, '.', '_', '-' and blanks, not of blanks alone and no path such as '..'"
        raise UsageError("model-name", wanted, repr(name), "choose another")


def register(folder: str, name: str, uri: str, *, alias: str | None = None) -> Resolved:
    """Put a model into the registry; the same model under the same name is the same version.

    What lies beside the weights (domain, calibration, card) is brought up to date in it: the digest does not hold it, and
    ``isovox models tested`` and ``calibrated`` write it into a model that was registered before.

    Its files are uploaded and read back before the version is made: a version whose files are not whole does not exist.

    Args:
        folder: with model.safetensors and config.json.
        name: in the registry.
        uri: MLflow's tracking URI.
        alias: to point at this version ("production").

    Raises:
        UsageError: a name that cannot be one.
        WeightsError: a pickle, weights that are not what their config says, a domain, calibration, card or split that cannot be
            read, or an upload that is not whole.
    """
    from mlflow import MlflowClient

    check_name(name)
    client, spec = MlflowClient(tracking_uri=uri), _checked(folder)
    if isinstance(spec, Bundle):
        bundles.check_beside(folder)
    version = known(client, name, spec.digest)
    if version is None:
        version = _upload(client, uri, folder, name)
    elif isinstance(spec, Bundle):
        _renew(client, uri, folder, version)
    if alias:
        client.set_registered_model_alias(name, alias, version.version)
    return Resolved(folder, name, str(version.version), spec.sha256, spec.digest)


def resolve(model: str, uri: str, cache: Path) -> Resolved:
    """The folder of a model, its digests checked.

    Args:
        model: models:/name@alias, models:/name/3, or a folder (a path or s3://…).
        uri: MLflow's tracking URI.
        cache: where models from a remote registry are kept, by digest.

    Raises:
        UsageError: a name that cannot be one, or that the registry does not have.
        WeightsError: a pickle, or other weights than were registered.
    """
    if not model.startswith("models:"):
        spec = _checked(model)
        return Resolved(model, files.name_of(model), "", spec.sha256, spec.digest)
    from mlflow import MlflowClient

    version = _version(MlflowClient(tracking_uri=uri), model)
    folder = _fetch(version, uri, cache)
    spec = _checked(str(folder))
    if spec.digest != version.tags.get(DIGEST):
        wanted = f"the model that was registered as {version.name} {version.version}"
        raise WeightsError("weights-digest", wanted, f"other bytes in {folder}", "register it again under a new version")
    return Resolved(str(folder), version.name, str(version.version), spec.sha256, spec.digest)


def read_spec(folder: str) -> Spec:
    """What a network or a harmoniser says of itself.

    Raises:
        WeightsError: the folder holds neither.
    """
    return harmonizers.read(folder) if harmonizers.is_harmonizer(folder) else bundles.read_bundle(folder)


def files_of(folder: str) -> list[str]:
    """Names of the files in a folder that are a model's; whatever else lies there stays there."""
    spec = read_spec(folder)
    if isinstance(spec, Bundle):
        return bundles.files_of(folder, spec)
    return [name for name in harmonizers.files_of(spec) if files.exists(files.join(folder, name))]


def _checked(folder: str) -> Spec:
    """What the model says of itself, its weights being the bytes that it says; torch is not needed for this."""
    spec = read_spec(folder)
    if isinstance(spec, Bundle):
        bundles.check_files(folder, spec)
    return spec


def known(client: MlflowClient, name: str, digest: str) -> ModelVersion | None:
    """The version of a model that has that digest; None where none has."""
    versions = client.search_model_versions(f"name = '{name}'")
    return next((version for version in versions if version.tags.get(DIGEST) == digest), None)


def _upload(client: MlflowClient, uri: str, folder: str, name: str) -> ModelVersion:
    """A new version, its files in a run of its own."""
    run = client.create_run(experiment_id(client, uri, EXPERIMENT), run_name=name)
    source = f"{run.info.artifact_uri}/model"
    try:
        spec = _send(client, uri, folder, run.info.run_id)
        client.set_terminated(run.info.run_id)
    except BaseException:
        client.set_terminated(run.info.run_id, "FAILED")
        raise
    with _known_name_is_fine():
        client.create_registered_model(name)
    return client.create_model_version(name, source, run.info.run_id, {SHA256: spec.sha256, DIGEST: spec.digest})


def _renew(client: MlflowClient, uri: str, folder: str, version: ModelVersion) -> None:
    """Send what lies beside a known model's weights here and is other there; a tag tells caches of it."""
    weighty = {bundles.CONFIG, *(part.file for part in bundles.read_bundle(folder).parts.values())}
    beside = {name: files.read_bytes(files.join(folder, name)) for name in files_of(folder) if name not in weighty}
    if not version.run_id or all(_there(f"{version.source}/{name}", uri) == content for name, content in beside.items()):
        return
    with tempfile.TemporaryDirectory() as there:
        for name, content in beside.items():
            Path(there, name).write_bytes(content)
        client.log_artifacts(version.run_id, there, "model")
    said = digest_of({name: content.hex() for name, content in beside.items()})
    client.set_model_version_tag(version.name, str(version.version), BESIDE, said)


def _there(source: str, uri: str) -> bytes | None:
    """A small file of the registry; None where there is none."""
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as scratch, suppress(MlflowException, OSError):
        return Path(_download(source, uri, scratch)).read_bytes()
    return None


def _send(client: MlflowClient, uri: str, folder: str, run_id: str) -> Spec:
    """Copy the model's files to the run and read them back."""
    with tempfile.TemporaryDirectory() as there, tempfile.TemporaryDirectory() as back:
        for name in files_of(folder):
            Path(there, name).write_bytes(files.read_bytes(files.join(folder, name)))
        client.log_artifacts(run_id, there, "model")
        return _checked(_download(f"runs:/{run_id}/model", uri, back))


@contextmanager
def _known_name_is_fine() -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _version(client: MlflowClient, model: str) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    parts = URI.fullmatch(model)
    if parts is None:
        raise UsageError("model-name", "models:/name@alias or models:/name/3", repr(model), "correct --model")
    try:
        if alias := parts["alias"]:
            return client.get_model_version_by_alias(parts["name"], alias)
        return client.get_model_version(parts["name"], parts["version"])
    except MlflowException as error:
        remedy = "register it, or see the Models page of isovox ui"
        raise UsageError("model-unknown", f"{model} in the registry", str(error)[:200], remedy) from error


def folder_of(version: ModelVersion, cache: Path) -> Path:
    """Where a version lies on this machine, or will once it is fetched.

    Args:
        version: as MLflow has it.
        cache: where models from a remote registry are kept, by digest.
    """
    source = urlsplit(str(version.source))
    if source.scheme in {"", "file"}:
        return Path(unquote(source.path))
    renewed = f"-{version.tags[BESIDE][:12]}" if BESIDE in version.tags else ""
    return cache / (version.tags.get(DIGEST, f"{version.name}-{version.version}") + renewed)


def _fetch(version: ModelVersion, uri: str, cache: Path) -> Path:
    """The version's folder, fetched once.

    Raises:
        WeightsError: weights-missing, where MLflow has its files no more.
    """
    from mlflow.exceptions import MlflowException

    cached = folder_of(version, cache)
    if cached.exists():
        return cached
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        try:
            fetched = _download(str(version.source), uri, scratch)
        except MlflowException as error:
            wanted = f"the files of {version.name} {version.version} at {without_password(str(version.source))}"
            remedy = "put them back there, or name the model's folder by --model"
            raise WeightsError("weights-missing", wanted, " ".join(str(error).split())[:200], remedy) from error
        with suppress(OSError):  # another process was quicker
            Path(fetched).rename(cached)
    return cached


def _download(source: str, uri: str, folder: str) -> str:
    from mlflow.artifacts import download_artifacts

    return str(download_artifacts(artifact_uri=source, dst_path=folder, tracking_uri=uri))
