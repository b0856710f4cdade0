"""Places as people write them."""

from __future__ import annotations

import os.path
import re

HOME = re.compile(r"([A-Za-z0-9][\w+-]*=)?~(?=/|$)", re.ASCII)  # also behind a site, a reading's source, METHOD+repair


def at_home(text: str) -> str:
    """The text with the user's home in place of a ~ that begins it or that follows NAME=; any other text as it is.

    >>> at_home("s3://bucket/~/x")
    's3://bucket/~/x'
    """
    if match := HOME.match(text):
        return text[: match.end() - 1] + os.path.expanduser("~") + text[match.end() :]  # noqa: PTH111 - of a text, not a path
    return text
