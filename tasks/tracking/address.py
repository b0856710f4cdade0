"""Where MLflow's pages show what was told to it."""

from __future__ import annotations

import re


def without_password(text: str) -> str:
    """A text with addresses, without the names and passwords in them."""
    return re.sub(r"//[^/@\s]*@", "//", text)


def run_page(uri: str, experiment: str, run: str) -> str | None:
    """The address of a run's page; None where no server shows it.

    Args:
        uri: MLflow's tracking URI.
        experiment: its identifier there.
        run: likewise.
    """
    return f"{without_password(uri).rstrip('/')}/#/experiments/{experiment}/runs/{run}" if uri.startswith("http") else None
