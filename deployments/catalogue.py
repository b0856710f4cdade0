"""What can be deployed: the flows by name. One whose module is not there yet is left out and told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from prefect import Flow


@dataclass(frozen=True)
class Entry:
    """A flow that can be deployed.

    Attributes:
        name: of the deployment.
        module: in which the flow is.
        text: what it is for, in a line for its page.
    """

    name: str
    module: str
    text: str

    @property
    def there(self) -> bool:
        """Whether its module is."""
        return find_spec(self.module) is not None

    def find(self) -> tuple[str, Flow[..., Any]]:
        """The path by which a worker imports the flow, and the flow.

        Raises:
            LookupError: there is no such flow in the module.
        """
        module = import_module(self.module)
        own = [(name, one) for name, one in vars(module).items() if isinstance(one, Flow) and one.fn.__module__ == self.module]
        if not own:
            raise LookupError(f"no flow in {self.module}")
        name, found = next((pair for pair in own if pair[1].name == self.name), own[0])
        return f"{self.module}.{name}", found


CATALOGUE = (
    Entry("reprocess-cohort", "flows.reprocess", "Restore what is new or changed in a cohort; the rest is skipped."),
    Entry("restore-scan", "flows.restore", "Restore one NIfTI file, ad hoc."),
    Entry("evaluate", "flows.evaluation", "Hold methods against one another on a cohort whose truth is known."),
    Entry("train", "flows.train", "Train a method's network on a cohort and register it."),
    Entry("harmonize", "flows.harmonize", "Make several sites comparable: volumes, intensities and tables."),
    Entry("monitor", "flows.monitor", "Compare a new cohort's features with a reference's and warn of drift."),
)
COHORT = CATALOGUE[0]


def deployable() -> Iterator[Entry]:
    """The entries whose modules are there."""
    return (entry for entry in CATALOGUE if entry.there)
