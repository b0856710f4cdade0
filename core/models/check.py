"""A model held against this environment, point by point."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from core import __version__
from core.diffusion.declared import build_schedule
from core.errors import IsovoxError, WeightsError
from core.models.bundle import Bundle, Part, check_files, read_bundle, read_part
from core.models.card import read_card
from core.models.convert import misfits
from core.models.domain import GainCell, read_domain, statements
from core.networks import build

State = Literal["ok", "told", "wrong"]
RECORDED = ("isovox", "torch", "monai")  # packages whose versions a training records


@dataclass(frozen=True)
class Point:
    """What was looked at.

    Attributes:
        name: of the point.
        state: "told" is nothing wrong, but to be known.
        said: what was found, one line.
    """

    name: str
    state: State
    said: str


def check_model(folder: str) -> list[Point]:
    """Hold a model against this environment.

    Args:
        folder: of the model, local or s3://.

    Returns:
        the points: config, bytes, each part's network and tensors, schedule, domain, card and versions; the config alone where it
        cannot be read.
    """
    try:
        bundle = read_bundle(folder)
    except IsovoxError as error:
        return [Point("config", "wrong", str(error))]
    return list(_points(folder, bundle))


def _points(folder: str, bundle: Bundle) -> Iterator[Point]:
    yield Point("config", "ok", f"version {bundle.version}, digest {bundle.digest[:12]}, parts {', '.join(bundle.parts)}")
    recorded = _attempt("bytes", partial(_bytes, folder, bundle))
    yield recorded
    for role, part in bundle.parts.items():
        yield _attempt(f"network of {role}", partial(_network, folder, part, whole=recorded.state == "ok"))
    if bundle.schedule is not None:
        yield _attempt("schedule", partial(_schedule, bundle.schedule))
    yield _domain(folder)
    yield from _card(folder)


def _attempt(name: str, look: Callable[[], str]) -> Point:
    try:
        return Point(name, "ok", look())
    except IsovoxError as error:
        return Point(name, "wrong", str(error))


def _bytes(folder: str, bundle: Bundle) -> str:
    check_files(folder, bundle)
    return "as recorded"


def _schedule(said: dict[str, Any]) -> str:
    return f"{type(build_schedule(said)).__name__}, {said}"


def _network(folder: str, part: Part, *, whole: bool) -> str:
    """What a part's network is.

    Raises:
        WeightsError: an unknown network, tensors that do not fit it, or numbers that are not finite.
    """
    build(part.network, part.config)
    if not whole:
        return f"{part.network} is known; its tensors were not looked at"
    tensors = read_part(folder, part)
    if faults := {kind: names for kind, names in misfits(part.network, part.config, tensors).items() if names}:
        got = "; ".join(f"{len(names)} {kind}, such as {names[0]}" for kind, names in faults.items())
        raise WeightsError("weights-unfit", f"the tensors of {part.network}", got, "correct the config in config.json")
    if bad := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise WeightsError("weights-nonfinite", "finite weights", f"NaN or infinity in {bad[0]}", "train or import it again")
    count = sum(tensor.numel() for tensor in tensors.values())
    return f"{part.network}, {count:,} numbers that fit it and are finite"


def _domain(folder: str) -> Point:
    try:
        domain = read_domain(folder)
    except IsovoxError as error:
        return Point("domain", "wrong", str(error))
    if not domain.stated:
        return Point("domain", "told", "not stated: no scan is refused by it")
    return Point("domain", "ok", "; ".join([*statements(domain), *_tested(domain.tested or ())]))


def _tested(cells: Sequence[GainCell]) -> list[str]:
    """How much the model was tested against cubic interpolation."""
    if not cells:
        return []
    persons = " to ".join(dict.fromkeys(str(end([cell.persons for cell in cells])) for end in (min, max)))
    return [f"tested: {len(cells)} cell{'s' * (len(cells) != 1)} of contrast, factor and gap, {persons} persons each"]


def _card(folder: str) -> Iterator[Point]:
    try:
        card = read_card(folder)
    except IsovoxError as error:
        yield Point("card", "wrong", str(error))
        return
    if card is None:
        yield Point("card", "told", "text alone, as of before: it records no versions")
        return
    yield Point("card", "ok", card.title)
    yield _versions(card.versions)


def _versions(recorded: dict[str, str]) -> Point:
    """Versions at training beside those that are here."""
    here = {name: _here(name) for name in RECORDED}
    others = [f"{name} {was} (here {here.get(name) or _here(name)})" for name, was in recorded.items() if was != _here(name)]
    if not recorded:
        return Point("versions", "told", "none are recorded")
    if others:
        return Point("versions", "told", f"trained with {', '.join(others)}")
    return Point("versions", "ok", ", ".join(f"{name} {was}" for name, was in recorded.items()))


def _here(package: str) -> str:
    if package == "isovox":
        return __version__
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return "none"


def versions() -> dict[str, str]:
    """Versions of what a model depends on, to be recorded as it is trained."""
    return {name: _here(name) for name in RECORDED}
