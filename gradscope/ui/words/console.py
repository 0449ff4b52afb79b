"""What the console says: what it offers to try, and what keeping effects means."""

from __future__ import annotations

import re

from gradscope.protocol.messages import SessionInfo
from gradscope.ui.words.translation import QT_TRANSLATE_NOOP

PUT_BACK = QT_TRANSLATE_NOOP("Console", "What the code changes of the training is put back")
KEPT = QT_TRANSLATE_NOOP("Console", "What the code changes stays: weights, gradients, random numbers")

_MOST = 4


def examples(session: SessionInfo | None) -> tuple[str, ...]:
    """Expressions that can be evaluated in this session, most of them after a backward."""
    if session is None:
        return ()
    found = ["loss"]
    weight = next((parameter.name for parameter in session.parameters if len(parameter.shape) > 1), None)
    if weight is not None:
        layer = weight.rpartition(".")[0]
        if layer and session.script is None:
            found.append(f'grad("{layer}").norm()')
        elif layer:
            found.append(f'grad("{weight}").norm()')
        path = written_out(weight, "" if session.script is not None else "model")
        found.append(f"({path}.grad == 0).float().mean()")
    found.append('optimizer.param_groups[0]["lr"]')
    return tuple(found[:_MOST])


def written_out(name: str, owner: str) -> str:
    """ "encoder.0.weight" of "model" as one writes it in Python: "model.encoder[0].weight"."""
    parts = [part for part in (owner, *name.split(".")) if part]
    return parts[0] + "".join(re.sub(r"^\.(\d+)$", r"[\1]", f".{part}") for part in parts[1:])
