"""One Prefect server for all commands that the tests of inputs start."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from infra.services import _up, start_prefect


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[dict[str, str]]:
    """Variables by which commands find one Prefect for all of them."""
    with _up(partial(start_prefect, tmp_path_factory.mktemp("server"))) as service:
        yield {"PREFECT_API_URL": f"{service.url}/api"}
