"""Where expressions are evaluated in a script's training: what was found of it, and nobody follows what runs there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import Optimizer

from gradscope.engine.evaluate.place import Place

if TYPE_CHECKING:
    from gradscope.engine.script.session import ScriptSession


def place_of(session: ScriptSession, unseen: Callable[[], AbstractContextManager[object]]) -> Place:
    return Place(
        book=session.book,
        roots=lambda: _roots(session),
        optimizers=lambda: _optimizers(session),
        names=lambda: _names(session),
        unseen=unseen,
    )


def _optimizers(session: ScriptSession) -> dict[str, Optimizer]:
    found = [turn.optimizer for turn in session.found.turns if isinstance(turn.optimizer, Optimizer)]
    names = [turn.name for turn in session.found.turns if isinstance(turn.optimizer, Optimizer)]
    return {
        name or f"optimizer {number}": optimizer
        for number, (name, optimizer) in enumerate(zip(names, found, strict=True))
    }


def _roots(session: ScriptSession) -> dict[str, object]:
    facts = session.facts
    roots: dict[str, object] = {**session.found.model._modules, **session.found.model._parameters}
    for turn in session.found.turns:
        if turn.scheduler is not None:
            name = f"the scheduler of {turn.name or 'the optimizer'}"
            roots |= {name: turn.scheduler, f"{name}: attributes": vars(turn.scheduler)}
    if facts.scaler is not None:
        roots |= {"the scaler": facts.scaler, "the scaler's attributes": vars(facts.scaler)}
    if facts.call is not None:
        roots["what the model was called with"] = facts.call[2]
    return roots


def _names(session: ScriptSession) -> dict[str, Any]:
    """As far as the script has no variables of these names: those go before."""
    facts, turns, modules = session.facts, session.found.turns, session.found.model._modules
    found: dict[str, Any] = {"batch": facts.batch}
    model: nn.Module | None = facts.call[1] if facts.call is not None else None
    if model is None and len(modules) == 1:
        model = next(iter(modules.values()))
    if model is not None:
        found["model"] = model
    if facts.whose is not None or len(turns) == 1:
        turn = facts.whose or turns[0]
        found |= {"optimizer": turn.optimizer, "scheduler": turn.scheduler}
    if facts.scaler is not None:
        found["scaler"] = facts.scaler
    if isinstance(facts.batch, (list, tuple)) and len(facts.batch) == 2:
        found["x"], found["target"] = facts.batch
    return found
