"""``isovox models check`` and ``isovox models sanitise``: a model held against this environment, and without what is private."""

from __future__ import annotations

import argparse

from cli.helpers.console import FAILED, OK, console, say
from core.errors import UsageError


def check(options: argparse.Namespace) -> int:
    """Say each point of a model; exit code 3 where something is wrong."""
    from rich.markup import escape
    from rich.table import Table

    from core.models.check import check_model

    colours = {"ok": "green", "told": "yellow", "wrong": "red"}
    table = Table("point", "state", "found", box=None, pad_edge=False)
    points = check_model(_folder(options.model, options.tracking_uri))
    for point in points:
        table.add_row(point.name, f"[{colours[point.state]}]{point.state}[/]", escape(point.said))
    console().print(table)
    return FAILED if any(point.state == "wrong" for point in points) else OK


def _folder(model: str, tracking_uri: str | None) -> str:
    """The folder that is named, or that of a version in the registry."""
    from core.harmonize.model import is_harmonizer
    from core.io import files
    from flows.registry import registry

    if files.is_folder(model):
        folder = model
    else:
        models = registry(tracking_uri)
        folder = models.check(models.find(model)).folder
    if is_harmonizer(folder):
        raise UsageError("model-unfit", "a model of networks", "a harmoniser, which has none", "see isovox models show")
    return folder


def sanitise(options: argparse.Namespace) -> int:
    """Copy a model without paths, users, hosts and addresses; say what was taken out, and exit with 3 where some had to stay."""
    from core.models.bundle import read_bundle
    from core.models.sanitise import own_names, sanitise

    names = own_names()
    names["user"] += tuple(options.also)
    done = sanitise(options.folder, options.out, names)
    for finding in done.removed:
        say(f"taken out of {finding.file}: {finding.kind} {finding.text}")
    for finding in done.left:
        say(f"left in {finding.file}, on which the digest depends: {finding.kind} {finding.text}")
    say(f"{len(done.removed)} taken out; {options.out}, digest {read_bundle(options.out).digest[:12]} as before")
    return FAILED if done.left else OK


def tested(options: argparse.Namespace) -> int:
    """Write the cells of an evaluation into a model's card and domain; say what they are."""
    from core.models.tested import note_tested, read_cells

    cells = read_cells(options.cells, options.method)
    note_tested(options.folder, cells)
    for cell in cells:
        refused = "" if cell.helps else ", no gain: refused by the plan"
        say(f"{cell.scans()}: {cell.gain:+.2f} dB over cubic interpolation{refused}")
    return OK


def calibrated(options: argparse.Namespace) -> int:
    """Write what an evaluation found of a model's uncertainty beside it; say by how much it is stretched."""
    from core.models.calibration import note_stretches, read_stretches

    made = note_stretches(options.folder, read_stretches(options.stretches, options.method))
    for each in made.stretches:
        say(f"slices {each.spacing:g} mm apart: {each.stretch:.2f} times as wide as the network says ({each.persons} persons)")
    return OK
