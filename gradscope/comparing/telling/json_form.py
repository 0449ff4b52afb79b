"""A comparison as JSON. NaN and Inf do not exist in JSON: such numbers are null."""

from __future__ import annotations

import json
import math
from typing import Any

from gradscope.comparing.comparison import Comparison
from gradscope.comparing.divergence import Divergence
from gradscope.protocol.subjects import SubjectKey

FORMAT = 1


def json_of(comparison: Comparison) -> str:
    """`{"format", "same", "rtol", "ours", "theirs", "steps", "divergence", "facts", "rows", "unmatched", "tensors",
    "notes"}`.

    "ours" and "theirs" are the sides (`{"path", "form", "name", "first_step", "last_step"}`), "steps" those that both have
    (`{"first", "last", "count"}`). "divergence" is null, or `{"step", "from_step", "stage", "micro", "subject", "name",
    "column", "ours", "theirs", "absolute", "relative", "others", "agrees", "sentence"}`; a subject is
    `{"kind", "name", "call", "leaf"}`.
    The rest are lists of the dataclasses of `gradscope.comparing.comparison`, field by field; of facts also "differs".
    """
    steps = comparison.steps
    content = {
        "format": FORMAT,
        "same": comparison.is_same,
        "rtol": comparison.rtol,
        "ours": vars(comparison.ours),
        "theirs": vars(comparison.theirs),
        "steps": {"first": steps[0], "last": steps[-1], "count": len(steps)},
        "divergence": None if comparison.divergence is None else _divergence(comparison.divergence),
        "facts": [{**vars(fact), "differs": fact.differs} for fact in comparison.facts],
        "rows": [_plain(vars(row)) for row in comparison.rows],
        "unmatched": [_plain(vars(one)) for one in comparison.unmatched],
        "tensors": [_plain(vars(one)) for one in comparison.tensors],
        "notes": list(comparison.notes),
    }
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=True) + "\n"


def _divergence(divergence: Divergence) -> dict[str, Any]:
    agrees = divergence.agrees
    return _plain(
        {
            **vars(divergence),
            "stage": divergence.stage.value,
            "agrees": None if agrees is None else {**vars(agrees), "stage": agrees.stage.value},
            "sentence": divergence.sentence,
        }
    )


def _plain(content: dict[str, Any]) -> dict[str, Any]:
    return {name: _value(value) for name, value in content.items()}


def _value(value: Any) -> Any:
    if isinstance(value, SubjectKey):
        return {"kind": value.kind.value, "name": value.name, "call": value.call, "leaf": value.leaf}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
