"""The cells of ``isovox evaluate domain`` in a model's card and domain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pydantic import TypeAdapter

from core.errors import UsageError, WeightsError
from core.io import files
from core.models import calibration
from core.models.bundle import read_bundle
from core.models.card import Figure, read_card, write_card
from core.models.domain import GainCell, read_domain, write_domain
from core.settings.base import wrong

METRIC = "gain in PSNR, dB"


def read_cells(uri: str, method: str | None = None) -> tuple[GainCell, ...]:
    """The cells of a method.

    Args:
        uri: of a ``domain.json`` of an evaluation.
        method: its label there; None where there is one alone.

    Raises:
        UsageError: tested-unreadable, tested-method.
    """
    try:
        cells = TypeAdapter(dict[str, tuple[GainCell, ...]]).validate_python(files.read_json(uri))
    except (OSError, ValueError) as error:
        got = wrong(error) if isinstance(error, ValueError) else str(error)
        remedy = "name the domain.json that isovox evaluate domain wrote"
        raise UsageError("tested-unreadable", "cells of an evaluation", got[:200], remedy) from error
    wanted = method or (next(iter(cells)) if len(cells) == 1 else "")
    if wanted not in cells:
        raise UsageError("tested-method", f"one of {', '.join(cells) or 'no methods'}", method or "none", "name it by --method")
    return cells[wanted]


def note_tested(folder: str, cells: tuple[GainCell, ...]) -> None:
    """Write what was tested into the domain and the card of a model; its weights and digest stay.

    Args:
        folder: of the model.
        cells: of the evaluation; they replace those that were there.

    Raises:
        WeightsError: card-missing.
    """
    card = read_card(folder)
    if card is None:
        raise WeightsError("card-missing", "a model with a card.json", "none", "train it with this version, or write one")
    figures = [figure for figure in card.figures if figure.metric != METRIC]
    figures += [
        Figure(on=cell.scans(), method="against cubic", metric=METRIC, value=round(cell.gain, 3), sd=None) for cell in cells
    ]
    write_card(folder, card.model_copy(update={"figures": tuple(figures)}))
    write_domain(folder, read_domain(folder).model_copy(update={"tested": cells}))


@contextmanager
def evaluated(folder: str) -> Iterator[None]:
    """While a training writes its model once more: what evaluations found of it stays where its weights do, and goes with them.

    Args:
        folder: of the model, or where one will be.
    """
    before, cells = _digest(folder), None
    with suppress(WeightsError):
        cells = read_domain(folder).tested
    yield
    if _digest(folder) != before:
        files.remove(files.join(folder, calibration.FILE))
    elif cells:
        note_tested(folder, cells)


def _digest(folder: str) -> str:
    """Of a model; empty where there is none yet, or it is damaged and made anew."""
    with suppress(WeightsError):
        return read_bundle(folder).digest
    return ""
