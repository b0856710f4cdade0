"""The digest of a JSON value: by it plans, models, evaluations and records say what they depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

COMPACT, SPACED = (",", ":"), (", ", ": ")


def digest_of(value: Any, *, spaced: bool = False, lines: Iterable[str] = ()) -> str:
    """The sha256 (hex) of a JSON value, whatever the order of its keys.

    Args:
        value: numbers, words, None, lists and dictionaries of them.
        spaced: with blanks after commas and colons, as the records of simulations, evaluations, normalisers, evaluation
            cohorts and listings have it: another digest would make their outputs anew.
        lines: what follows the value, each line as it is; never held together.
    """
    text = json.dumps(value, sort_keys=True, separators=SPACED if spaced else COMPACT)
    digest = hashlib.sha256(text.encode())
    for line in lines:
        digest.update(line.encode())
    return digest.hexdigest()
