"""Who takes part in an evaluation: a method with its options and weights, or a choice by the scan among several."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

from core.engine.plan import Weights
from core.engine.planning import best
from core.methods.base import Method
from core.methods.registry import build_method, pickers, resolve
from core.models.domain import Domain, Facts
from tasks.evaluate.cases import Trained


@dataclass(frozen=True)
class Candidate:
    """A method that takes part.

    Attributes:
        label: unique; what tables call it.
        method: its name in ``core.methods``.
        options: its settings by name.
        weights: of a learned method.
        trained: what the model's makers say it was trained on.
        domain: the scans that the method and its model are for; others are restored too, and their rows say so.
        depends_on: what else the method's numbers depend on, such as the version of a program.
        revision: of the method's numbers.
        repair: whether what it makes is brought to agree with its scan, as a run does.
        choices: of a choice by the scan, the methods among which it chooses.
        reason: why it cannot take part; empty where it can.
    """

    label: str
    method: str
    options: dict[str, Any] = field(default_factory=dict)
    weights: Weights | None = None
    trained: Trained | None = None
    domain: Domain = field(default_factory=Domain)
    depends_on: dict[str, Any] = field(default_factory=dict)
    revision: int = 1
    repair: bool = False
    choices: tuple[Candidate, ...] = ()
    reason: str = ""

    @property
    def slug(self) -> str:
        """The label as a folder's name."""
        return re.sub(r"[^0-9A-Za-z._+-]+", "-", self.label).strip("-.")

    @property
    def model(self) -> str:
        """What tables call its weights: name and version, or the folder's name; empty without."""
        if self.weights is None:
            return ""
        return f"{self.weights.name}/{self.weights.version}" if self.weights.version else self.weights.name

    @property
    def names(self) -> list[str]:
        """Of all methods that may restore a scan."""
        return [choice.method for choice in self.choices] or [self.method]

    def build(self) -> Method:
        """The method, with its options and weights."""
        return build_method(self.method, self.options, self.weights.folder if self.weights else None)

    def chosen(self, facts: Facts) -> tuple[Candidate, str]:
        """Who restores a scan by the name of this candidate, and why; of a method that is itself, without a word.

        Args:
            facts: what is known of the scan; whether it is repaired is this candidate's to say.
        """
        if not self.choices:
            return self, ""
        facts = replace(facts, repaired=self.repair)
        able = {choice.method: choice.build() for choice in self.choices if not choice.reason}
        models = {choice.method: choice.weights.sha256 for choice in self.choices if choice.weights}
        name, why = best(resolve(pickers()[self.method].where)(facts, models), [facts], able)
        choice = next(choice for choice in self.choices if choice.method == name)
        return replace(choice, label=self.label, repair=self.repair), f"{name}: {why}"
