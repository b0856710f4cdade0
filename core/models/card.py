"""The card of a model as a value: what it is for, on whom it was trained, how well it does, and where it ends.

``card.json`` holds it; ``README.md`` is rendered from it for readers, and says nothing else.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.errors import WeightsError
from core.io import files
from core.settings.base import Settings, wrong

FILE, README = "card.json", "README.md"
PURPOSE = "Research. Not a medical device; not for diagnosis."


class TrainingData(Settings):
    """A cohort that a model has seen.

    Attributes:
        name: of the cohort.
        licence: short name of its licence; empty where it names none.
        source: DOI or address; empty where there is none.
        scans: how many.
        persons: labels of its persons by part ("train", "validation", "test").
    """

    name: str
    licence: str = ""
    source: str = ""
    scans: int | None = Field(None, ge=0)
    persons: dict[str, tuple[str, ...]] = {}

    def markdown(self) -> str:
        """A paragraph, and a line for each part."""
        scans = "" if self.scans is None else f": {self.scans} scans"
        licence = f"Licence: {self.licence}." if self.licence else "The cohort names no licence."
        lines = [f"Cohort `{self.name}`{scans}. {licence} {self.source}".rstrip(), ""]
        lines += [f"- {part}: {', '.join(labels) or 'none'}" for part, labels in self.persons.items()]
        return "\n".join(lines).strip()


class Figure(Settings):
    """How well a method did by one measure.

    Attributes:
        on: which data: "validation, 32 patches".
        method: name of the method, or of the one that it is compared with.
        metric: with its unit: "PSNR dB".
        value: mean over the scans or patches.
        sd: standard deviation over them; None where it was not taken.
    """

    on: str
    method: str
    metric: str
    value: float
    sd: float | None = None

    def told(self) -> str:
        """The value to four digits, with its spread."""
        return f"{self.value:.4g}" + ("" if self.sd is None else f" ± {self.sd:.2g}")


class Card(Settings):
    """What there is to know of a model beside how it is built.

    Attributes:
        version: of this format.
        title: name of the model.
        summary: what it is, one sentence.
        purpose: what it is for, and what not.
        data: cohorts that it has seen.
        training: how it was trained, Markdown.
        figures: how well it does.
        limits: where not to trust it.
        versions: of the software that trained it, by name.
    """

    version: Literal[1] = 1
    title: str
    summary: str = ""
    purpose: str = PURPOSE
    data: tuple[TrainingData, ...] = ()
    training: str = ""
    figures: tuple[Figure, ...] = ()
    limits: str = ""
    versions: dict[str, str] = {}

    def markdown(self) -> str:
        """The card for readers."""
        sections = {
            "Intended use": self.purpose,
            "Data": "\n\n".join(each.markdown() for each in self.data),
            "Training": self.training,
            "Figures": self._tables(),
            "Limits": self.limits,
            "Versions": ", ".join(f"{name} {version}" for name, version in sorted(self.versions.items())),
        }
        head = f"# {self.title}\n\n{self.summary}".strip()
        return "\n\n".join([head, *(f"## {name}\n{text.strip()}" for name, text in sections.items() if text.strip())]) + "\n"

    def _tables(self) -> str:
        """A table for each set of data, methods by metrics."""
        return "\n\n".join(self._table(on) for on in dict.fromkeys(each.on for each in self.figures))

    def _table(self, on: str) -> str:
        cells = {(each.method, each.metric): each.told() for each in self.figures if each.on == on}
        methods, metrics = (list(dict.fromkeys(names)) for names in zip(*cells, strict=True))
        rows = [["method", *metrics], ["---"] * (1 + len(metrics))]
        rows += [[method, *(cells.get((method, metric), "–") for metric in metrics)] for method in methods]
        return f"On {on}:\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def write_card(folder: str, card: Card | str) -> None:
    """Write a card: as a value and for readers, or, where it is text alone, for readers only.

    Args:
        folder: of the model, local or s3://.
        card: what to say.
    """
    text = card.markdown() if isinstance(card, Card) else card
    files.write_atomic(files.join(folder, README), text.encode())
    if isinstance(card, Card):
        content = card.model_dump(mode="json", exclude_defaults=True)
        files.write_json(files.join(folder, FILE), {"version": card.version} | content)


def read_card(folder: str) -> Card | None:
    """The card of a model as a value; None where it has none (models of before have a README.md alone).

    Raises:
        WeightsError: a card that cannot be meant.
    """
    try:
        return Card.model_validate(files.read_json(files.join(folder, FILE)))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        wanted = f"a model's {FILE} in {folder}"
        raise WeightsError("card-unreadable", wanted, wrong(error), "correct or remove it") from error


def read_text(folder: str) -> str:
    """The card for readers; empty where there is none."""
    try:
        return files.read_bytes(files.join(folder, README)).decode(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""
