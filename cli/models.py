"""The command ``isovox models``: what the registry has, who is champion, and how another becomes it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, Field, create_model

from cli.helpers.console import FAILED, OK, calm, say
from cli.models_check import calibrated, check, sanitise, tested
from core.errors import UsageError
from core.methods import registry as families
from core.settings.evaluate import EvaluationSettings
from flows.registry import bring_own, registry

if TYPE_CHECKING:
    from tasks.registry.models import Story, Version
    from tasks.registry.promotion import Decision, PairedScores

NOT_SAID = ("methods", "method_options", "segmenter", "lpips", "tracking_uri")  # by the two models, or the same for all commands


def _evaluation() -> type[BaseModel]:
    """How champion and challenger are compared: the settings of an evaluation but those that follow from the two."""
    own: dict[str, Any] = {
        "protocol": (
            EvaluationSettings.model_fields["protocol"].annotation,
            Field(
                "thick-slice",
                description="of the evaluation",
                json_schema_extra=EvaluationSettings.model_fields["protocol"].json_schema_extra,
            ),
        ),
        "cohort": (
            str | None,
            Field(None, description="frozen evaluation cohort: sharp scans, or simulated ones with their truth"),
        ),
        "out": (str | None, Field(None, description="folder of the evaluation; default: by name in isovox's own folder")),
    }
    same = {n: (f.annotation, f) for n, f in EvaluationSettings.model_fields.items() if n not in {*own, *NOT_SAID}}
    made: type[BaseModel] = create_model("Evaluation", **cast("Any", own | same))
    return made


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own commands to its parser."""
    from cli.helpers.options import add_settings

    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, (text, arguments, _) in ACTIONS.items():
        each = actions.add_parser(name, help=text, description=text)
        for argument, keywords in arguments.items():
            each.add_argument(argument, **keywords)
        each.add_argument("--tracking-uri", help="MLflow tracking URI; default: a sqlite file in isovox's own folder")
        if name == "promote":
            add_settings(each, _evaluation(), ())


def _list(options: argparse.Namespace) -> int:
    models = registry(options.tracking_uri)
    versions = models.versions(options.name)
    if versions:
        _print(_table(versions))
    else:
        say(f"no models in {models.uri}; train or import one")
    return OK


def _show(options: argparse.Namespace) -> int:
    _tell(registry(options.tracking_uri).show(options.model))
    return OK


def _promote(options: argparse.Namespace) -> int:
    from cli.helpers.options import settings_from
    from infra.processes.signals import terminable
    from tasks.registry.promotion import cohort_of, promote

    models = registry(options.tracking_uri)
    settings: Any = settings_from(options, _evaluation())
    bring_own(options.name, models)
    cohort, score = None, None
    if settings.cohort:
        unset = {"fold"} if settings.fold is None else set()  # so that cohorts that were frozen before there were folds stay so
        how = settings.model_dump(mode="json", exclude={"cohort", "out", "tiling", "compute"} | unset)
        cohort = cohort_of(settings.cohort, settings.selection, how)
        score = _scorer(options.name, settings, models.uri)
    with terminable():
        decision = promote(models, options.name, score, cohort, thaw=options.new_cohort)
    say(told(options.name, decision))
    return OK if decision.promoted else FAILED


def _scorer(name: str, settings: Any, uri: str) -> Callable[[str, str], PairedScores]:
    """Restores and scores the cohort by both models."""
    from flows.runs.home import home

    out = settings.out or str(home() / "evaluations" / name)
    how = settings.model_dump(exclude={"cohort", "out"}) | {"tracking_uri": uri}

    def score(challenger: str, champion: str) -> PairedScores:
        from flows.evaluate import paired_scores

        return paired_scores([challenger, champion], settings.cohort, out, **how)

    return score


def told(name: str, decision: Decision) -> str:
    """A decision in lines."""
    after = f" after version {decision.champion}" if decision.champion else ""
    if decision.promoted:
        head = f"{name}: version {decision.challenger} is champion{after}"
    else:
        head = f"{name}: version {decision.challenger} stays challenger, version {decision.champion} champion"
    figures = [f"  {each}" for each in decision.comparisons]
    reasons = [f"  because {reason.partition(' (')[0]}" for reason in decision.reasons]
    return "\n".join([head, *reasons, *figures])


def _rollback(options: argparse.Namespace) -> int:
    version = registry(options.tracking_uri).rollback(options.name)
    say(f"{version.name}: version {version.version} is champion again, sha256 {version.sha256}")
    return OK


def _import(options: argparse.Namespace) -> int:
    from core.harmonize.model import is_harmonizer
    from core.io import files
    from core.models.convert import check_fit

    if options.source in families.foreign():
        return _import_foreign(options, options.source, options.names)
    if len(options.names) != 1:
        got = f"{options.source} and {len(options.names)} names"
        raise UsageError("import-several", f"one name, or a known model: {', '.join(families.foreign())}", got, "name one")
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.source
        if not files.is_folder(folder):
            folder = str(Path(scratch, "model"))
            _convert(options, folder)
        if not is_harmonizer(folder):
            check_fit(folder)
        return _register(options, folder, options.names[0])


def _import_foreign(options: argparse.Namespace, name: str, paths: Sequence[str]) -> int:
    """A model of others from its files, as its family reads them."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = str(Path(scratch, "model"))
        families.resolve(families.foreign_entry(name).reads)(paths, folder)
        return _register(options, folder, name)


def _download(options: argparse.Namespace) -> int:
    entry = families.foreign_entry(options.name)
    if not entry.fetches:
        remedy = f"isovox models import {entry.name} FILE…"
        raise UsageError("download-none", "a model whose files can be downloaded", entry.name, remedy)
    with tempfile.TemporaryDirectory() as scratch:
        return _import_foreign(options, entry.name, families.resolve(entry.fetches)(scratch))


def _register(options: argparse.Namespace, folder: str, name: str) -> int:
    models = registry(options.tracking_uri)
    bring_own(name, models)
    version = models.add(folder, name)
    say(f"{version.uri} {' '.join(version.aliases)} sha256 {version.sha256}".replace("  ", " "))
    return OK


def _convert(options: argparse.Namespace, folder: str) -> None:
    """Write a checkpoint as a model, by a map of its keys or by a layout that a family knows."""
    from core.models.convert import convert, convert_by, read_map

    if options.map is not None:
        convert(options.source, read_map(options.map), folder)
        return
    known = families.key_maps()
    if options.layout is None:
        got, remedy = f"{options.source} without --map", "see the attributes of core.models.convert.KeyMap for what it says"
        raise UsageError("key-map", "a model's folder, or a checkpoint with a map of its keys (or --layout)", got, remedy)
    if options.layout not in known:
        remedy = "describe it by --map, or declare it in its family (key_maps)"
        raise families.unknown("layout-unknown", options.layout, known or ["none"], remedy)
    convert_by(options.source, families.resolve(known[options.layout]), folder)


def _export(options: argparse.Namespace) -> int:
    models = registry(options.tracking_uri)
    if options.float16:
        models.export_half(options.model, options.out)
        say(f"{options.model} in {options.out}, weights in float16")
        return OK
    version = models.export(options.model, options.out)
    say(f"models:/{version.name}/{version.version} in {version.folder}, sha256 {version.sha256}")
    return OK


def _print(what: Any) -> None:
    from rich.console import Console

    Console(highlight=False, width=None if sys.stdout.isatty() else 140).print(what)


def _table(versions: list[Version]) -> Any:
    from rich.table import Table

    table = Table("name", "version", "alias", "sha256", box=None, pad_edge=False)
    for name in ("created", "figures"):
        table.add_column(name, overflow="fold")
    for each in versions:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in sorted(each.figures.items()))
        table.add_row(each.name, each.version, " ".join(each.aliases), each.sha256[:12], each.created, figures)
    return table


def _tell(story: Story) -> None:
    from core.models.bundle import Bundle

    version, spec = story.version, story.spec
    lines = {
        "model": f"{version.uri} {' '.join(version.aliases)}".strip(),
        "sha256": version.sha256,
        "created": version.created,
        **({role: f"{part.network} {part.config}" for role, part in spec.parts.items()} if isinstance(spec, Bundle) else {}),
        **{name: f"{value:.6g}" for name, value in sorted(version.figures.items())},
    }
    for name, value in lines.items():
        say(f"{name}: {value}")
    for event in story.history:
        say(f"{event.at} version {event.version} {event.what}" + (f", before it {event.before}" if event.before else ""))
    for decision in story.decisions:
        verdict = "promoted" if decision["promoted"] else "not promoted"
        say(f"{decision['at']} {verdict}: " + "; ".join(decision["reasons"]))
    say(f"\n{story.card.strip()}")


NAME = {"name": {"help": "of the model in the registry"}}
MODEL = {"model": {"help": "NAME, NAME@alias or NAME/version; of a bare name the champion"}}
ACTIONS: dict[str, tuple[str, dict[str, dict[str, Any]], Callable[[argparse.Namespace], int]]] = {
    "list": ("models, versions and who is champion", {"name": {"nargs": "?", "help": "only this one's versions"}}, _list),
    "show": ("a version's card, figures and history; its bytes are checked", MODEL, _show),
    "promote": (
        "restore the evaluation cohort by champion and challenger, and swap them if the challenger is better; exit code 3 if not",
        NAME | {"--new-cohort": {"action": "store_true", "help": "freeze this cohort in place of the one of before"}},
        _promote,
    ),
    "rollback": ("make the former champion champion again, the very bytes", NAME, _rollback),
    "import": (
        "register a model's folder, or a checkpoint (.pth, .pt, .ckpt, .safetensors) by a map of its keys, or a known model",
        {"source": {"help": "folder or checkpoint; or a known model of others: " + ", ".join(families.foreign())}}
        | {"names": {"nargs": "+", "metavar": "NAME", "help": "in the registry; of a known model its files"}}
        | {
            "--map": {"metavar": "FILE.yaml", "help": "network, config, keys"},
            "--layout": {"metavar": "NAME", "help": "of a foreign checkpoint that a family knows, in place of --map"},
        },
        _import,
    ),
    "download": (
        "fetch the files of a known model of others from the internet, and register it",
        {"name": {"help": "one of: " + ", ".join(name for name, entry in families.foreign().items() if entry.fetches)}},
        _download,
    ),
    "check": (
        "hold a model against this environment: bytes, networks, schedule, domain, versions; exit code 3 if something is wrong",
        {"model": {"help": "a folder, or NAME, NAME@alias or NAME/version"}},
        check,
    ),
    "tested": (
        "write what isovox evaluate domain found into a model's card and domain; import brings it into the registry",
        {"folder": {"help": "of the model"}, "cells": {"help": "the evaluation's domain.json"}}
        | {"--method": {"help": "of several in it, the one that this is the model of"}},
        tested,
    ),
    "calibrated": (
        "write what isovox evaluate any-scan found of a model's uncertainty beside it; import brings it into the registry",
        {"folder": {"help": "of the model"}, "stretches": {"help": "the evaluation's calibration.json"}}
        | {"--method": {"help": "of several in it, the one that this is the model of"}},
        calibrated,
    ),
    "sanitise": (
        "copy a model's folder without the paths, user and host names that its card and split tell; its digest stays",
        {"folder": {"help": "of the model"}, "out": {"help": "folder, empty or new"}}
        | {"--also": {"nargs": "+", "default": (), "metavar": "NAME", "help": "further names to take out"}},
        sanitise,
    ),
    "export": (
        "copy a version to a folder, its bytes checked",
        MODEL
        | {"out": {"help": "folder, empty or new"}}
        | {"--float16": {"action": "store_true", "help": "weights of half the size; another model, by its digest"}},
        _export,
    ),
}


def execute(options: argparse.Namespace) -> int:
    """Run the command."""
    calm()
    return ACTIONS[options.action][2](options)
