"""Models under a name: which one serves as champion, which one challenges it, how that came to be, and back again.

Two aliases of MLflow's registry say who is who. How the champion came to be is kept on the registered model, one tag an event;
why a challenger was promoted or not (``tasks.registry.promotion``) is kept on its version, with all figures as a file of its run.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from core import __version__
from core.errors import UsageError, WeightsError
from core.harmonize import model as harmonizers
from core.io import files
from core.models import bundle as bundles
from core.models.card import read_text
from tasks.registry.resolve import DIGEST, SHA256, URI, Resolved, Spec, files_of, known, read_spec, register, resolve

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

CHAMPION, CHALLENGER = "champion", "challenger"
How = Literal["first", "promoted", "fitted anew", "rolled back", "brought"]
LAST = (bundles.CONFIG, harmonizers.FILE)
EVENT, DECISION, COHORT = "isovox.champion.", "isovox.decision.", "isovox.cohort"
BROUGHT = "isovox.brought"  # tag of a version that came along with isovox: with which


@dataclass(frozen=True)
class Version:
    """A version of a model in the registry.

    Attributes:
        name: of the model.
        version: its number, as MLflow has it.
        aliases: that point at it, sorted.
        sha256: of model.safetensors.
        digest: of the whole model.
        created: time, ISO 8601, UTC.
        figures: metrics of its run by name.
    """

    name: str
    version: str
    aliases: tuple[str, ...]
    sha256: str
    digest: str
    created: str
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """The version's name that no alias moves."""
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True)
class Event:
    """A change of the champion: from which version to which, when and how."""

    what: How
    at: str
    before: str
    version: str


@dataclass(frozen=True)
class Story:
    """All there is to say of a version."""

    version: Version
    spec: Spec
    card: str
    history: list[Event]
    decisions: list[dict[str, Any]]


class Models:
    """The models of a registry.

    Args:
        uri: MLflow's tracking URI.
        cache: where models from a remote registry are kept.
    """

    def __init__(self, uri: str, cache: Path) -> None:
        from mlflow import MlflowClient

        self.uri, self._cache = uri, cache
        self._client: MlflowClient = MlflowClient(tracking_uri=uri)

    # -- what is there ------------------------------------------------------------------------------------------------------

    def versions(self, name: str | None = None) -> list[Version]:
        """All versions of a model, or of all models; by name, the newest first.

        Raises:
            UsageError: a name that the registry does not have.
        """
        known = [self._model(name)] if name else self._pages(self._client.search_registered_models)
        return [version for model in sorted(known, key=lambda each: each.name) for version in self._versions_of(model)]

    def _versions_of(self, model: RegisteredModel) -> list[Version]:
        versions = self._pages(self._client.search_model_versions, filter_string=f"name = '{model.name}'")
        return [self._version(each, model) for each in sorted(versions, key=lambda each: -int(each.version))]

    @staticmethod
    def _pages(search: Callable[..., Any], **said: Any) -> list[Any]:
        page = search(**said)
        entries = list(page)
        while page.token:
            page = search(**said, page_token=page.token)
            entries += page
        return entries

    def _version(self, version: ModelVersion, model: RegisteredModel) -> Version:
        number, tags = str(version.version), version.tags
        aliases = tuple(sorted(alias for alias, of in model.aliases.items() if str(of) == number))
        return Version(
            model.name,
            number,
            aliases,
            tags.get(SHA256, ""),
            tags.get(DIGEST, ""),
            _time(version.creation_timestamp),
            dict(self._client.get_run(version.run_id).data.metrics) if version.run_id else {},
        )

    def _model(self, name: str) -> RegisteredModel:
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_registered_model(name)
        except MlflowException as error:
            names = ", ".join(sorted(each.name for each in self._pages(self._client.search_registered_models))) or "none"
            remedy = "see isovox models list, or name the registry by --tracking-uri"
            raise UsageError("model-unknown", f"a model {name} in the registry", names, remedy) from error

    def find(self, said: str) -> Version:
        """The version that is meant by NAME, NAME@alias, NAME/3 or models:/…; of a bare name champion, challenger or the newest.

        Raises:
            UsageError: a name, alias or version that the registry does not have.
        """
        text = said.removeprefix("models:/")
        parts = URI.fullmatch(f"models:/{text}")
        versions = self.versions(parts["name"] if parts else text)
        if parts is None:
            ranks = {CHAMPION: 0, CHALLENGER: 1}
            return min(versions, key=lambda each: min((ranks.get(alias, 2) for alias in each.aliases), default=2))
        for each in versions:
            if each.version == parts["version"] or parts["alias"] in each.aliases:
                return each
        got = ", ".join(f"{each.version} {' '.join(each.aliases)}".strip() for each in versions)
        raise UsageError("model-unknown", f"{said} in the registry", got, "see isovox models list")

    def check(self, version: Version) -> Resolved:
        """Where a version lies on this machine, its bytes being those that were registered.

        Raises:
            WeightsError: a pickle, or other weights than were registered.
        """
        return resolve(version.uri, self.uri, self._cache)

    def show(self, said: str) -> Story:
        """A version with its card, config and history, its digests checked.

        Raises:
            UsageError: it is not in the registry.
            WeightsError: a pickle, or other weights than were registered.
        """
        version = self.find(said)
        folder = self.check(version).folder
        tags = self._client.get_model_version(version.name, version.version).tags
        decisions = [json.loads(text) for tag, text in sorted(tags.items()) if tag.startswith(DECISION)]
        return Story(version, read_spec(folder), read_text(folder), self.history(version.name), decisions)

    def history(self, name: str) -> list[Event]:
        """How the champion came to be, the oldest first."""
        tags = self._model(name).tags
        return [Event(**json.loads(text)) for tag, text in sorted(tags.items()) if tag.startswith(EVENT)]

    # -- what changes -------------------------------------------------------------------------------------------------------

    def add(self, folder: str, name: str, figures: Mapping[str, float] | None = None) -> Version:
        """Register a model: as champion where the name has none, else as challenger.

        A model that is known stays what it is where a newer one challenges.
        A harmoniser is champion at once: it is fitted on a cohort for that cohort, and there is no truth to compare two by.

        Args:
            folder: with model.safetensors and config.json, or a harmoniser's.
            name: in the registry.
            figures: of its training or evaluation, kept with its version.

        Raises:
            UsageError: a name that cannot be one.
            WeightsError: a pickle, or weights that are not what their config says.
        """
        version = register(folder, name, self.uri).version
        if figures:
            self.note_figures(name, version, figures)
        if self._champion(name) is None:
            self.crown(name, version, "first")
        elif self._champion(name) != version and harmonizers.is_harmonizer(folder):
            self.crown(name, version, "fitted anew")
        elif self._champion(name) != version and int(version) > int(self._model(name).aliases.get(CHALLENGER, 0)):
            self._client.set_registered_model_alias(name, CHALLENGER, version)
        return self.find(f"{name}/{version}")

    def rollback(self, name: str) -> Version:
        """Make the former champion champion again: the same bytes, or nothing changes.

        Raises:
            UsageError: there is no former one.
            WeightsError: its bytes are no longer those that were registered.
        """
        line = self.succession(name)
        if len(line) < 2:
            got = f"version {line[0]} alone" if line else "no champion at all"
            raise UsageError("no-former", f"a former champion of {name}", got, "see isovox models show")
        former = self.find(f"{name}/{line[-2]}")
        self.check(former)
        self.crown(name, former.version, "rolled back")
        return self.find(former.uri)

    def export_half(self, said: str, folder: str) -> None:
        """Write a model to a folder with its weights in float16; see ``export``."""
        with tempfile.TemporaryDirectory() as whole:
            self.export(said, whole)
            if files.listdir(folder):
                raise UsageError("folder-taken", "an empty folder", folder, "name another, or empty it")
            bundles.halve(whole, folder)

    def export(self, said: str, folder: str) -> Resolved:
        """Copy a model to a folder, its digests checked there and here.

        Args:
            said: as for ``find``.
            folder: empty or not there yet, local or s3://; one that holds the same model stays as it is.

        Raises:
            UsageError: not in the registry, or a folder with something else in it.
            WeightsError: a pickle, or other weights than were registered.
        """
        resolved = self.check(self.find(said))
        parts = files_of(resolved.folder)
        content = {part: files.read_bytes(files.join(resolved.folder, part)) for part in parts}
        for there in files.listdir(folder):
            if there not in content or files.read_bytes(files.join(folder, there)) != content[there]:
                raise UsageError("folder-taken", f"an empty folder {folder}", there, "name another, or empty it")
        for part in sorted(parts, key=lambda each: each in LAST):  # the config last: without it, it is no model
            files.write_atomic(files.join(folder, part), content[part])
        written = resolve(folder, self.uri, self._cache)
        if written.digest != resolved.digest:
            raise WeightsError("weights-digest", f"the bytes of {said}", f"other bytes in {folder}", "export it again")
        return replace(resolved, folder=folder)

    def bring(self, folder: str, name: str) -> None:
        """Make a model that comes along with isovox champion where there is none, or one that an earlier isovox brought.

        Once it is in the registry it is for people to say who is champion: a rollback stays, and so does one of their own.

        Args:
            folder: with model.safetensors and config.json.
            name: in the registry.

        Raises:
            WeightsError: weights that are not what their config says.
        """
        try:
            champion = self._champion(name)
        except UsageError:
            champion = None
        if champion is not None:
            tags = self._client.get_model_version(name, champion).tags
            if BROUGHT not in tags or known(self._client, name, read_spec(folder).digest):
                return
        version = register(folder, name, self.uri).version
        self._client.set_model_version_tag(name, version, BROUGHT, __version__)
        self.crown(name, version, "brought")

    # -- how it is kept -----------------------------------------------------------------------------------------------------

    def _champion(self, name: str) -> str | None:
        version = self._model(name).aliases.get(CHAMPION)
        return None if version is None else str(version)

    def pair(self, name: str) -> tuple[Version, Version | None]:
        """The challenger, and the champion where there is one.

        Raises:
            UsageError: there is no challenger, or it is the champion itself.
        """
        by_alias = {alias: each for each in self.versions(name) for alias in each.aliases}
        challenger, champion = by_alias.get(CHALLENGER), by_alias.get(CHAMPION)
        if challenger is None or (champion and champion.version == challenger.version):
            got = f"champion {champion.version} alone" if champion else "no alias"
            raise UsageError("no-challenger", f"a challenger of {name}", got, "train or import one, or set the alias in MLflow")
        return challenger, champion

    def crown(self, name: str, version: str, what: How) -> None:
        """Make a version champion: point the alias, then note it. One that is killed between leaves what ``succession`` takes."""
        event = Event(what, now(), self._champion(name) or "", version)
        self._client.set_registered_model_alias(name, CHAMPION, version)
        self._client.set_registered_model_tag(name, f"{EVENT}{len(self.history(name)):06d}", json.dumps(asdict(event)))
        if str(self._model(name).aliases.get(CHALLENGER)) == version:
            self._client.delete_registered_model_alias(name, CHALLENGER)

    def succession(self, name: str) -> list[str]:
        """Champions from the first to the present one, without those that were rolled back; the alias decides, whoever set it."""
        line: list[str] = []
        for event in self.history(name):
            line = _ending(line, event.before)
            line = _ending(line, event.version) if event.what == "rolled back" else [*line, event.version]
        return _ending(line, self._champion(name) or "")

    def cohort(self, name: str) -> dict[str, str] | None:
        """The evaluation cohort that was frozen for a model: its uri and sha256."""
        cohort = self._model(name).tags.get(COHORT)
        return json.loads(cohort) if cohort else None

    def freeze_cohort(self, name: str, cohort: Mapping[str, str]) -> None:
        """Remember on which cohort the versions of a model are compared."""
        self._client.set_registered_model_tag(name, COHORT, json.dumps(cohort))

    def note_decision(self, name: str, version: str, said: Mapping[str, Any], whole: Mapping[str, Any]) -> None:
        """Keep a decision on a version.

        Args:
            name: of the model.
            version: about which it was.
            said: what ``show`` tells, as a JSON value.
            whole: with all figures, a file of the version's run.
        """
        noted = self._client.get_model_version(name, version)
        number = sum(tag.startswith(DECISION) for tag in noted.tags)
        if noted.run_id:
            self._client.log_dict(noted.run_id, dict(whole), f"decisions/{number:06d}.json")
        self._client.set_model_version_tag(name, version, f"{DECISION}{number:06d}", json.dumps(said))

    def note_figures(self, name: str, version: str, figures: Mapping[str, float]) -> None:
        """Keep figures with a version's run."""
        if run := self._client.get_model_version(name, version).run_id:
            for key, value in figures.items():
                self._client.log_metric(run, key, float(value))


def _ending(line: list[str], version: str) -> list[str]:
    """The line of champions that ends with a version: cut where this one stands last, else made longer."""
    if not version:
        return line
    places = [place for place, each in enumerate(line) if each == version]
    return line[: places[-1] + 1] if places else [*line, version]


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


def now() -> str:
    """The time, ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
