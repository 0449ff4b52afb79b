"""Small things of English that many sentences need."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SPELLED_AN = frozenset("AEFHILMNORSX")
"""Letters whose names begin with a vowel: an SGD, an MSELoss, an RMSprop."""
_LIKE_YOU = re.compile(r"(?i)(uni|use|usu|ut|eu|one)")


def with_article(name: str) -> str:
    """ "an int", "an AdamW", "an SGD", "a Recipe"."""
    if re.match(r"[A-Z]{2}", name):
        is_an = name[0] in _SPELLED_AN
    elif name.startswith("nd"):
        is_an = True
    else:
        is_an = name[:1].lower() in tuple("aeiou") and _LIKE_YOU.match(name) is None
    return f"{'an' if is_an else 'a'} {name}"


def listed(names: Iterable[str], *, most: int = 3) -> str:
    """ "a, b, c and 4 more"."""
    known = list(names)
    return ", ".join(known[:most]) + (f" and {len(known) - most} more" if len(known) > most else "")
