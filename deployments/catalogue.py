"""What can be deployed: the flows by name. One that is not there is left out and told."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from prefect import Flow

Found = tuple[str, Flow[..., Any]]


@dataclass(frozen=True)
class Entry:
    """A flow that can be deployed.

    Attributes:
        name: of the deployment, and of the flow where a module has several.
        modules: in which the flow may be, the first that has one counts.
        text: what it is for, in a line for its page.
    """

    name: str
    modules: tuple[str, ...]
    text: str

    def find(self) -> Found | None:
        """The path by which a worker imports the flow, and the flow; None where no module has one."""
        return next((flow for module in self.modules if find_spec(module) and (flow := self._in(module))), None)

    def _in(self, module: str) -> Found | None:
        names = vars(import_module(module)).items()
        own = [(name, value) for name, value in names if isinstance(value, Flow) and value.fn.__module__ == module]
        named = [pair for pair in own if pair[1].name == self.name] or own
        return (f"{module}.{named[0][0]}", named[0][1]) if named else None


CATALOGUE = (
    Entry("reprocess-cohort", ("flows.reprocess",), "Restore what is new or changed in a cohort; the rest is skipped."),
    Entry("restore-scan", ("flows.restore",), "Restore one NIfTI file, ad hoc."),
    Entry("evaluate", ("flows.evaluation",), "Hold methods against one another on a cohort whose truth is known."),
    Entry("train", ("flows.train",), "Train a method's network on a cohort and register it."),
    Entry("harmonize", ("flows.harmonize",), "Make several sites comparable: volumes, intensities and tables."),
    Entry("monitor", ("flows.monitor",), "Compare a new cohort's features with a reference's; warn of drift."),
)
COHORT = CATALOGUE[0]
