"""What an engine says of a session, for tests without an engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gradscope.protocol import messages as m

_SMALL = m.SessionInfo(
    name="Net",
    description="",
    path="/a.py",
    sha256="",
    seed=0,
    device="cpu",
    modules=(m.ModuleInfo(name="", type="M", description=""),),
    parameters=(),
    groups=(),
    optimizer="SGD",
    scheduler=None,
    loss="mse",
    scheduler_unit="step",
    batches_per_epoch=3,
)


def session_info(**changes: Any) -> m.SessionInfo:
    """Of a model without layers or parameters, but for what is given."""
    return replace(_SMALL, **changes)
