"""Does a padding mask hide the tokens, and leave the padding? What embeddings put out is nudged: at the padding, then at one
token; whatever moves elsewhere has seen it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from gradscope.engine.findings.bench import Bench
from gradscope.engine.findings.draft import EXPERIMENTS, CannotJudge, Draft, Experiment
from gradscope.engine.findings.padded import padding_of
from gradscope.engine.findings.record import Record
from gradscope.engine.findings.tracing import Call, Trace, input_of, motion, spread, traced
from gradscope.engine.model.leaves import tensor_leaves
from gradscope.protocol.findings import Evidence

MOVED = 1e-5
"""Of the spread: a nudge as large as the embeddings themselves reaches one place among many."""


def find_hidden(bench: Bench, record: Record) -> Iterable[Draft]:
    if not isinstance(bench.model, nn.Module):
        raise CannotJudge("the model is no module")
    given = input_of(bench)
    tokens = next((t for _, t in tensor_leaves(given) if not t.is_floating_point() and t.dim() == 2), None)
    embeddings = [m for m in bench.model.modules() if isinstance(m, nn.Embedding)]
    if tokens is None or not embeddings:
        raise CannotJudge("the inputs are no tokens")
    fill = padding_of(tokens, embeddings[0].padding_idx)
    # A row must have two tokens and some padding.
    rows = None if fill is None else (fill.any(1) & ((~fill).sum(1) > 2)).nonzero().flatten()
    if fill is None or rows is None or not len(rows):
        raise CannotJudge("no row of tokens is padded")
    first = (~fill).long().argmax(1)
    token = torch.zeros_like(fill)
    token[torch.arange(len(fill)), first] = True
    others = ~fill & ~token
    runs = []
    for where in (None, fill, token):
        with traced(bench.model) as trace, _Nudging(embeddings, where):
            runs.append((bench.evaluate(given, keeps_layers=False).output, trace))
    (output, plain), (_, by_padding), (_, by_token) = runs
    for name, call in plain.calls.items():
        if isinstance(call.module, nn.Embedding) or not _mixes(call, tokens):
            continue
        seen = _moved(name, plain, by_padding, others, rows)
        own = _moved(name, plain, by_token, others, rows)
        if seen > MOVED and own == 0.0:
            return [_draft(name, call.module, seen)]
    return _of_output(output, runs, rows)


def _mixes(call: Call, tokens: Tensor) -> bool:
    return call.put_out is not None and call.put_out.dim() >= 3 and call.put_out.shape[:2] == tokens.shape


def _moved(name: str, plain: Trace, other: Trace, places: Tensor, rows: Tensor) -> float:
    """How far a layer's output has moved at these places, in spreads."""
    a, b = (trace.calls[name].put_out if name in trace.calls else None for trace in (plain, other))
    if a is None or b is None or a.shape != b.shape:
        return 0.0
    kept = places[rows]
    return motion(a[rows][kept], b[rows][kept]) / (spread(a) or 1.0)


def _of_output(output: Tensor | None, runs: list[tuple[Tensor | None, Trace]], rows: Tensor) -> list[Draft]:
    """Of one output for each sample: it moves with the padding, and not with any token."""
    by_padding, by_token = runs[1][0], runs[2][0]
    if output is None or by_padding is None or by_token is None or output.dim() != 2 or len(output) <= int(rows.max()):
        return []
    seen = motion(output[rows], by_padding[rows]) / (spread(output) or 1.0)
    own = motion(output[rows], by_token[rows])
    return [_draft("", None, seen)] if seen > MOVED and own == 0.0 else []


class _Nudging:
    """Adds to what the embeddings of tokens put out at some places; None: nowhere. A hook that is an object of ours, which
    the bench does not put back."""

    def __init__(self, embeddings: list[nn.Embedding], where: Tensor | None) -> None:
        self._embeddings, self._where = embeddings, where
        self._handles: list[Any] = []

    def __enter__(self) -> None:
        self._handles = [embedding.register_forward_hook(self._add()) for embedding in self._embeddings]

    def __exit__(self, *raised: Any) -> None:
        for handle in self._handles:
            handle.remove()

    def _add(self) -> _Added:
        return _Added(self._where)


class _Added:
    def __init__(self, where: Tensor | None) -> None:
        self._where = where

    def __call__(self, module: nn.Module, given: Any, output: Tensor) -> Tensor | None:
        if self._where is None or output.shape[:2] != self._where.shape:
            return None
        # Of both signs: what only shifts all features alike is taken away by a normalisation.
        signs = torch.ones(output.shape[-1], device=output.device, dtype=output.dtype)
        signs[::2] = -1
        return output + self._where[..., None] * signs * spread(output)


def _draft(name: str, module: nn.Module | None, seen: float) -> Draft:
    place = f"`{name}`" if name else "the model"
    is_attention = isinstance(module, (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerEncoder))
    do = (
        f"Invert the key_padding_mask of {place}: True is what is left out, so it is tokens == padding."
        if is_attention
        else f"Invert the mask in {place}: it is to keep what is no padding."
    )
    return Draft(
        id="mask-hides-wrong-part",
        where=name,
        evidence=(
            Evidence(
                name="motion by the padding, at the places of other tokens",
                value=seen,
                threshold=MOVED,
                unit="of the spread",
                text=f"what is said at tokens moves by {seen:.2g} of its spread with the padding",
            ),
            Evidence(
                name="motion by another token", value=0.0, text="and does not move at all with another token of the row"
            ),
        ),
        do=do,
        instead="It is no missing mask: then both would be seen.",
    )


EXPERIMENTS.append(
    Experiment(
        ids=("mask-hides-wrong-part",),
        title="Does a padding mask hide the tokens in place of the padding?",
        run=find_hidden,
        passes=lambda bench, record: (3, 0),
    )
)
