"""The one sentence that says where NaN or Inf began, the same wherever it is read."""

from __future__ import annotations

from torch import Tensor, nn

from gradscope.engine.nonfinite.counts import Counts
from gradscope.engine.quantities.values import dtype_name
from gradscope.protocol.nonfinite import FirstNonFinite, Operation, Stage
from gradscope.protocol.subjects import SubjectKey


def found(
    step: int,
    stage: Stage,
    place: str,
    counts: Counts,
    what: str,
    *,
    subject: SubjectKey | None = None,
    operation: Operation | None = None,
) -> FirstNonFinite:
    """`what` goes on from "First NaN: step 30, forward, 1 (Log): "."""

    def said(sentence: str) -> FirstNonFinite:
        return FirstNonFinite(
            step=step,
            stage=stage,
            place=place,
            nan=counts.nan,
            inf=counts.inf,
            count=counts.count,
            sentence=sentence,
            subject=subject,
            operation=operation,
        )

    return said(f"{said('').title}: {what}")


def of_layer(key: SubjectKey, module: nn.Module | None) -> str:
    """ "1 #2 (Log)"; "(model) (Net)"."""
    return key.label() if module is None else f"{key.label()} ({type(module).__name__})"


def made_by(operation: Operation | None, *, in_backward: bool = False) -> str:
    if operation is None:
        return ""
    code = f": {operation.code}" if operation.code else ""
    is_of_user = operation.name.endswith(".backward")
    how = "made in the backward of" if in_backward and not is_of_user else "made by"
    return f"; {how} {operation.name} in {operation.source}{code}"


def rounded_eps(group: dict[str, object], parameter: Tensor) -> str:
    """That an optimizer's eps, which is to keep it from dividing by zero, is zero in the parameter's own type."""
    eps = group.get("eps")
    if not isinstance(eps, float) or not parameter.dtype.is_floating_point:
        return ""
    is_lost = eps > 0 and float(parameter.new_tensor(eps)) == 0
    return f"; the optimizer's eps, {eps:g}, is 0 in {dtype_name(parameter.dtype)}" if is_lost else ""
