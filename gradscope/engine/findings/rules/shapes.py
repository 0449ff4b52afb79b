"""Dimensions that were mixed up: a softmax over the wrong one, a broadcast in the loss, a view in place of a transpose."""

from __future__ import annotations

from collections.abc import Iterator

from gradscope.engine.findings.draft import RULES, CannotJudge, Draft, Rule
from gradscope.engine.findings.record import Record
from gradscope.engine.findings.telling import seen
from gradscope.protocol.phases import Phase


def _need_checks(record: Record) -> None:
    if not record.checked:
        raise CannotJudge("the functions of the forward were not looked at")


def _softmax_wrong_dim(record: Record) -> Iterator[Draft]:
    _need_checks(record)
    told: set[str] = set()
    for use in record.softmaxes:
        if use.layer in told:
            continue
        told.add(use.layer)
        shape, size = " x ".join(map(str, use.shape)), use.shape[use.dim]
        right = use.contracted - len(use.shape)
        yield Draft(
            id="softmax-wrong-dim",
            where=use.layer,
            phase=Phase.FORWARD,
            first_step=use.step,
            evidence=(
                seen("dimension of the softmax", use.dim, text=f"of {shape}"),
                seen(
                    "dimension along which the classes are picked"
                    if use.is_pick
                    else "dimension that is summed over next",
                    use.contracted,
                ),
            ),
            why="It is taken over a single element: every weight is 1."
            if size == 1
            else "The classes of a sample do not sum to 1: samples compete for each class."
            if use.is_pick
            else "",
            do=f"log_softmax(..., dim={use.contracted})." if use.is_pick else f"softmax(..., dim={right}).",
            instead="Each place picks its own class: it is no choice of one position for all."
            if use.is_pick
            else "The weights are not normalised again before they are used.",
        )


def _broadcast(record: Record) -> Iterator[Draft]:
    _need_checks(record)
    if not record.broadcasts:
        return
    first = record.broadcasts[0]
    yield Draft(
        id="broadcast-in-loss",
        phase=Phase.FORWARD,
        first_step=first.step,
        step=record.broadcasts[-1].step,
        evidence=(
            seen("elements of the result", _size(first.result), max(_size(first.left), _size(first.right))),
            seen("shapes", None, text=f"{first.function}: {first.left} and {first.right} give {first.result}"),
        ),
        do=_equal_shapes(first.left, first.right),
        instead="Neither was given a new dimension for it, as a comparison of all with all would be written.",
    )


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size


def _equal_shapes(left: tuple[int, ...], right: tuple[int, ...]) -> str:
    longer, shorter = (left, right) if len(left) >= len(right) else (right, left)
    if longer == (*shorter, 1):
        return f"Make {longer} the same as {shorter}: squeeze(-1)."
    return f"Give both the same shape: {left} is not {right}."


def _layout(record: Record) -> Iterator[Draft]:
    _need_checks(record)
    calls = [call for call in record.losses if call.is_relayout and call.requires_grad]
    if not calls:
        return
    call = calls[0]
    yield Draft(
        id="layout-mixup",
        phase=Phase.FORWARD,
        first_step=call.step,
        step=calls[-1].step,
        evidence=(
            seen("shapes", None, text=f"{call.function} gets {call.input_shape} with the values in another order"),
            seen("checks", len(calls)),
        ),
    )


RULES.append(Rule(ids=("softmax-wrong-dim",), judge=_softmax_wrong_dim))
RULES.append(Rule(ids=("broadcast-in-loss",), judge=_broadcast))
RULES.append(Rule(ids=("layout-mixup",), judge=_layout))
