"""What a session is begun with, checked: each error says what was found and what was expected."""

from __future__ import annotations

import difflib

from torch import nn

from gradscope.engine.model.buffers import named_buffers
from gradscope.engine.model.modules import walk
from gradscope.engine.model.parameters import Model, named_tensors
from gradscope.engine.recipe.recipe import Recipe
from gradscope.engine.surroundings.randomness import MAX_SEED
from gradscope.protocol.capture import Capture
from gradscope.protocol.failure import BadInput


def checked_seed(recipe: Recipe, seed: int | None) -> int:
    """The seed that was asked for, or the recipe's own, or 0. Raises BadInput if it is none."""
    if seed is None:
        return recipe.source.seed if recipe.source is not None else 0
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        raise BadInput(f"The seed is {seed!r}; expected a whole number from 0 to {MAX_SEED}")
    return seed


def checked_capture(model: Model, capture: str | Capture) -> Capture:
    """What is to be captured. Raises BadInput if it is no level, or names a layer that the model does not have."""
    wanted = Capture.parse(capture) if isinstance(capture, str) else capture
    problem = unmatched_layer(model, wanted)
    if problem:
        raise BadInput(f"{problem}; expected names of its layers, with * and ?")
    return wanted


def unmatched_layer(model: Model, wanted: Capture) -> str:
    """Which layer is to be captured that the model does not have, in words; "" where it has them all."""
    if not wanted.layers:
        return ""
    names = [*named_tensors(model), *named_buffers(model)]
    if isinstance(model, nn.Module):
        names += [name for name, _ in walk(model)]
    unmatched = wanted.unmatched(names)
    if not unmatched:
        return ""
    close = difflib.get_close_matches(unmatched[0], names, n=1)
    known = f" (is it {close[0]}?)" if close else ""
    return f"The model has no layer {unmatched[0]!r}{known}"
