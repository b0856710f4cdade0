"""Whether what runs in a container is well, for its health check: ``python -m infra.healthcheck``.

ISOVOX_HEALTH names the page of the server in it that answers 200 where all is well; without one, isovox only has to be there.
Of the standard library alone, for it runs every few seconds.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from importlib.util import find_spec

LONGEST = 5.0  # seconds for an answer


def why_not(environ: Mapping[str, str] = os.environ) -> str:
    """What ails it; empty where all is well."""
    url = environ.get("ISOVOX_HEALTH", "")
    if not url:
        return "" if find_spec("core") else "isovox is not installed"
    try:
        with urllib.request.urlopen(url, timeout=LONGEST) as answer:  # noqa: S310 - an address of this container
            return "" if answer.status == 200 else f"{url} answers {answer.status}"
    except (urllib.error.URLError, OSError, ValueError) as error:
        return f"{url}: {error}"


if __name__ == "__main__":
    if ailing := why_not():
        sys.stderr.write(f"{ailing}\n")
    sys.exit(1 if ailing else 0)
