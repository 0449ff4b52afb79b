"""What a session checks of the user's input while it trains: each error says what was found and what was expected."""

from __future__ import annotations

import difflib
from typing import Any

from torch import Tensor, nn

from gradscope.engine.model.buffers import named_buffers
from gradscope.engine.model.modules import walk
from gradscope.engine.model.parameters import Model, named_tensors
from gradscope.engine.recipe.recipe import Recipe
from gradscope.engine.surroundings.randomness import MAX_SEED
from gradscope.engine.wording import with_article
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
    names = [*named_tensors(model), *named_buffers(model)]
    if isinstance(model, nn.Module):
        names += [name for name, _ in walk(model)]
    unmatched = wanted.unmatched(names)
    if unmatched:
        close = difflib.get_close_matches(unmatched[0], names, n=1)
        known = f" (is it {close[0]}?)" if close else ""
        raise BadInput(f"The model has no layer {unmatched[0]!r}{known}; expected names of its layers, with * and ?")
    return wanted


def or_nan(value: float | None) -> float:
    """A number for sums: NaN where it is unknown."""
    return float("nan") if value is None else value


def input_and_target(batch: Any) -> tuple[Any, Any]:
    """(x, y) of a batch that is a pair. Raises TypeError, which says what the batch is instead."""
    if isinstance(batch, (list, tuple)) and len(batch) == 2:
        return batch[0], batch[1]
    found = f"{with_article(type(batch).__name__)}" + (
        f" of {len(batch)}" if isinstance(batch, (list, tuple, dict)) else ""
    )
    raise TypeError(f"a batch is {found}; expected (input, target), or a recipe with a training_step(model, batch)")


def loss_of(returned: Any) -> Any:
    """The loss, of what a training_step returned: the loss itself, or (loss, output)."""
    if isinstance(returned, tuple) and len(returned) == 2:
        return returned[0]
    return returned


def checked_loss(loss: Any) -> Tensor:
    """The loss, if backward() can start from it. Raises TypeError or ValueError, which says what is wrong."""
    if not isinstance(loss, Tensor):
        raise TypeError(f"the loss is {with_article(type(loss).__name__)}; expected a tensor with one element")
    if loss.numel() != 1:
        raise ValueError(f"the loss has the shape {tuple(loss.shape)}; expected one number (take its mean() or sum())")
    if loss.is_complex():
        raise TypeError("the loss is complex; expected a real number (take its abs() or real part)")
    if not loss.requires_grad:
        raise ValueError(
            "the loss depends on nothing that requires a gradient; expected one that backward() can start from"
        )
    return loss
