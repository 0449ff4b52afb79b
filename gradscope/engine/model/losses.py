"""A batch as input and target, and what a loss has to be: each error says what was found and what was expected."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gradscope.engine.wording import with_article


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
