"""Copies of many tensors at once: the same bits, whatever they are and wherever they lie."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gradscope.engine.model import copies
from gradscope.engine.model.copies import Renewal, copy_all
from gradscope.engine.quantities import summary
from gradscope.engine.stepping.undo import ForwardUndo

BEYOND_CACHES = 3_000_001
"""Numbers of float32: more than the kernel copies through the caches, and no multiple of a vector."""


def tensors_of_all_kinds() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    strange = torch.tensor([0.0, -0.0, 1e-45, -1e-40, 3e38, torch.inf, -torch.inf, torch.nan])
    strange.view(torch.int32)[-1] = 0x7F800001  # a NaN that signals
    return [
        strange,
        nn.Parameter(torch.randn(3, 5, generator=generator)),
        torch.randn((), generator=generator),
        torch.empty(0),
        torch.randn(7, 5, generator=generator).t(),
        torch.randn(2, 3, 4, 4, generator=generator).to(memory_format=torch.channels_last),
        torch.randn(9, generator=generator).to(torch.bfloat16),
        torch.randn(9, generator=generator, dtype=torch.complex64),
        torch.arange(5),
        torch.tensor([True, False]),
    ]


def bits(tensor: Tensor) -> list[int]:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).tolist()


@pytest.mark.parametrize("with_kernel", [True, False])
def test_the_bits_are_the_same(with_kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not with_kernel:
        monkeypatch.setattr(summary, "KERNEL", None)
    pairs = [(tensor, torch.zeros_like(tensor)) for tensor in tensors_of_all_kinds()]
    copy_all(pairs)
    for source, target in pairs:
        assert bits(target) == bits(source)
        assert target.grad_fn is None


@pytest.mark.parametrize("offset", [0, 1, 4])
def test_many_bytes_may_lie_anywhere(offset: int) -> None:
    source = torch.randn(BEYOND_CACHES + 4, generator=torch.Generator().manual_seed(1))
    room = torch.full((BEYOND_CACHES + 16,), 7.0)
    target = room[offset : offset + BEYOND_CACHES]
    copy_all([(source[3 : 3 + BEYOND_CACHES], target), (source[:5], room[-5:])])
    assert torch.equal(target, source[3 : 3 + BEYOND_CACHES])
    assert (room[:offset] == 7).all() and (room[offset + BEYOND_CACHES : -5] == 7).all()
    assert torch.equal(room[-5:], source[:5])


def test_a_buffer_that_has_got_another_dtype_is_put_back_as_it_was() -> None:
    module = nn.Module()
    module.register_buffer("mean", torch.zeros(3))
    undo = ForwardUndo(module.modules)
    undo.remember()
    mean = module.get_buffer("mean")
    mean.data = torch.full((3,), 0.1, dtype=torch.float64)
    undo.remember()
    mean.add_(1)
    undo.restore()
    assert mean.tolist() == [0.1] * 3


def test_a_subclass_is_copied_by_its_own_rules() -> None:
    class Own(Tensor):
        pass

    source = torch.arange(4.0).as_subclass(Own)
    target = torch.zeros(4).as_subclass(Own)
    copy_all([(source, target)])
    assert target.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("is_compiled", [True, False])
def test_a_copy_is_renewed_in_its_memory_where_it_fits(is_compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not is_compiled:
        monkeypatch.setattr(copies, "NATIVE", None)
    sources = tensors_of_all_kinds()
    earlier = [torch.zeros_like(source.detach()) for source in sources]
    renewal = Renewal()
    renewed = [renewal.copy_of(source, known) for source, known in zip(sources, earlier, strict=True)]
    others = [torch.randn(3, 4), torch.randn(4, 3), torch.randn(4, 3), torch.randn(5), None]
    new = [torch.randn(4, 3), torch.randn(12), torch.randn(4, 3, dtype=torch.float64), torch.arange(5), torch.randn(2)]
    fresh = [renewal.copy_of(source, known) for source, known in zip(new, others, strict=True)]
    renewal.finish()
    assert all(now is before for now, before in zip(renewed, earlier, strict=True))
    for source, copy in zip([*sources, *new], [*renewed, *fresh], strict=True):
        assert type(copy) is Tensor and copy.dtype is source.dtype and copy.shape == source.shape
        assert bits(copy) == bits(source) and not copy.requires_grad
    for source, known, copy in zip(new, others, fresh, strict=True):
        assert copy is not known and copy.data_ptr() != source.data_ptr()


def test_a_renewal_holds_what_it_copies_until_it_is_done() -> None:
    renewal, target = Renewal(), torch.zeros(1000)
    renewal.copy_of(torch.full((1000,), 3.0), target)
    # The source's memory would go to these.
    others = [torch.full((1000,), 5.0) for _ in range(20)]
    renewal.finish()
    renewal.finish()
    assert bits(target) == bits(torch.full((1000,), 3.0)) and len(others) == 20


def test_a_negated_view_is_copied_with_its_sign() -> None:
    renewal, target = Renewal(), torch.zeros(4)
    source = torch._neg_view(torch.arange(4.0))
    renewal.copy_of(source, target)
    renewal.finish()
    assert target.tolist() == [0.0, -1.0, -2.0, -3.0]
