"""Where tensors lie, what was copied of them, and what containers hold: asked of the extension, and of Python's own."""

from __future__ import annotations

from collections import OrderedDict
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradscope.engine.aside.holders import DictHolder, Holder, ListHolder, names_in
from gradscope.engine.quantities.kernel.extension import NATIVE
from gradscope.engine.timeline import blocks, spans
from gradscope.engine.timeline.blocks import are_same, copies_of
from gradscope.engine.timeline.spans import spans_of

needs_extension = pytest.mark.skipif(NATIVE is None, reason="no extension was built")


class Own(Tensor):
    pass


def tensors() -> dict[str, Tensor]:
    whole = torch.arange(1, 25, dtype=torch.float32)
    return {
        "plain": torch.randn(3, 4),
        "a number": torch.tensor(7),
        "whole numbers": torch.arange(5),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "truth": torch.tensor([True, False]),
        "a parameter": nn.Parameter(torch.randn(2, 2)),
        "a part": whole[6:12].view(2, 3),
        "turned": whole.view(4, 6).t(),
        "every second": whole[::2],
        "spread out": torch.ones(1).expand(5),
        "one row of one": whole.view(4, 6).t()[:1, :1],
        "nothing": torch.empty(0, 3),
        "complex": torch.randn(3, dtype=torch.complex64),
        "conjugate": torch.randn(3, dtype=torch.complex64).conj(),
        "negative": torch.randn(3, dtype=torch.complex64).conj().imag,
        "sparse": torch.eye(3).to_sparse(),
        "meta": torch.empty(3, device="meta"),
        "of a class": torch.ones(3).as_subclass(Own),
        "lazy": nn.UninitializedParameter(),
        "of a graph": nn.Parameter(torch.ones(3)) * 2,
        "large": torch.randn(300_000),
    }


@needs_extension
def test_the_extension_finds_memory_where_torch_says_that_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = tensors()
    found, plain = spans_of([*asked.values()]), spans_of([asked["plain"], asked["large"]])
    monkeypatch.setattr(spans, "NATIVE", None)
    assert found == spans_of([*asked.values()])
    assert plain == spans_of([asked["plain"], asked["large"]])
    assert plain.is_whole and not found.is_whole
    lying = {name for name, (address, _) in zip(asked, found.rows().tolist(), strict=True) if address}
    assert {"plain", "half", "a part", "one row of one", "of a graph", "large"} <= lying
    assert lying.isdisjoint({"turned", "conjugate", "negative", "sparse", "meta", "of a class", "lazy", "nothing"})


@pytest.mark.parametrize("how", ["with all", "without the extension", "without the kernel"])
def test_copies_are_the_same_until_a_bit_changes(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "without the extension":
        monkeypatch.setattr(spans, "NATIVE", None)
        monkeypatch.setattr(blocks, "NATIVE", None)
    elif how == "without the kernel":
        monkeypatch.setattr(blocks.summary, "KERNEL", None)
    named = {name: tensor for name, tensor in tensors().items() if name not in ("lazy", "meta", "of a class")}
    copies = copies_of([*named.values()])
    for tensor, copy in zip(named.values(), copies, strict=True):
        kept = copy.tensor
        assert kept.dtype is tensor.dtype and kept.shape == tensor.shape
        assert torch.equal(kept.to_dense(), tensor.detach().to_dense())
    told = dict(zip(named, are_same([*named.values()], copies), strict=True))
    # Its bits are of another sign than its numbers: that is not looked into, and a copy more is made.
    assert [name for name, is_same in told.items() if not is_same] == ["negative"]
    others = [torch.zeros_like(tensor) for tensor in named.values()]
    assert [name for name, is_same in zip(named, are_same(others, copies), strict=True) if is_same] == ["nothing"]


def test_minus_zero_and_another_form_are_something_else() -> None:
    zero, square = torch.zeros(4), torch.ones(2, 2)
    copies = copies_of([zero, square])
    zero.neg_()
    square.data = square.data.view(4)
    assert are_same([zero, square], copies) == [False, False]


def containers() -> list[tuple[Holder, Any]]:
    """(holder, something that moves what it holds)."""
    own, ordered, numbers = {"a": object(), "b": object()}, OrderedDict(a=1, b=2), [object(), object()]
    module = ModuleType("somebodys")
    module.here = object()
    content = vars(module)
    return [
        (DictHolder(own), lambda: own.update(a=object())),
        (DictHolder(dict(own)), lambda: None),
        (DictHolder(ordered), lambda: ordered.move_to_end("a")),
        (ListHolder(numbers), numbers.reverse),
        (ListHolder([*numbers]), lambda: None),
        (names_in(content, ["here", "later"]), lambda: content.update(later=1)),
        (names_in(dict(content), ["here", "later"]), lambda: None),
    ]


@needs_extension
def test_the_extension_sees_what_has_moved() -> None:
    assert NATIVE is not None
    held = containers()
    holders = [holder for holder, _ in held]
    taken = [holder.taken() for holder in holders]
    items = [holder.items for holder in holders]
    # An ordered dict has an order of its own, which Python is asked for.
    assert [*NATIVE.unmoved(items, taken)] == [1, 1, 0, 1, 1, 1, 1]
    for _, move in held:
        move()
    assert [*NATIVE.unmoved(items, taken)] == [0, 1, 0, 0, 1, 0, 1]
    assert [holder.taken() is before for holder, before in zip(holders, taken, strict=True)] == [
        *(False, True, False, False, True, False, True),
    ]
    # Of lists of two lengths what lies beside each other; nonsense has moved.
    assert [*NATIVE.unmoved(items, taken[:2])] == [0, 1]
    assert [*NATIVE.unmoved([None, 3, {}, []], [taken[0], taken[1], None, (1, 2)])] == [0, 0, 0, 0]
