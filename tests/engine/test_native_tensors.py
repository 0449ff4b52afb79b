"""What the compiled taps take a tensor for: plain numbers in memory, or left to Python; whichever way torch is asked."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradscope import Recipe, Session
from gradscope.engine.capture.native import library
from gradscope.engine.quantities import summary
from gradscope.engine.quantities.kernel import extension
from gradscope.engine.quantities.values import plain_address

needs_taps = pytest.mark.skipif(
    library.NATIVE is None or summary.KERNEL is None, reason="the compiled taps or the kernel were not built here"
)
pytestmark = needs_taps

EXCHANGE = getattr(Tensor, "__dlpack_c_exchange_api__", None)


@pytest.fixture(params=["exchange", "attributes"])
def native(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "exchange" and EXCHANGE is None:
        pytest.skip("this torch does not offer it")
    assert extension.NATIVE is not None
    extension.set_up(extension.NATIVE, EXCHANGE if request.param == "exchange" else None)
    yield extension.NATIVE
    extension.set_up(extension.NATIVE, EXCHANGE)


class Own(Tensor):
    pass


def _resized() -> Tensor:
    tensor = torch.arange(12.0)
    return tensor.resize_(3, 2)


PLAIN: dict[str, Callable[[], Tensor]] = {
    "a matrix": lambda: torch.arange(6.0).view(2, 3),
    "one number": lambda: torch.tensor(2.5),
    "a parameter": lambda: nn.Parameter(torch.arange(4.0)),
    "with a graph": lambda: torch.arange(4.0, requires_grad=True) * 2,
    "from the middle of another": lambda: torch.arange(10.0)[3:7],
    "a length of one, with any stride": lambda: torch.arange(6.0).as_strided((1, 3, 1), (77, 1, 5)),
    "twelve dimensions": lambda: torch.arange(4.0).view(2, *[1] * 10, 2),
    "smaller than its memory": _resized,
    "shared memory": lambda: torch.arange(5.0).share_memory_(),
    "copied when it is written to": lambda: torch._lazy_clone(torch.arange(5.0)),
}
NOT_PLAIN: dict[str, Callable[[], Tensor]] = {
    "turned": lambda: torch.arange(6.0).view(2, 3).t(),
    "every other": lambda: torch.arange(6.0)[::2],
    "repeated": lambda: torch.arange(3.0).expand(2, 3),
    "channels last": lambda: torch.arange(24.0).view(1, 2, 3, 4).contiguous(memory_format=torch.channels_last),
    "empty": lambda: torch.empty(0, 3),
    "float64": lambda: torch.arange(3.0, dtype=torch.float64),
    "half": lambda: torch.arange(3.0).half(),
    "whole": lambda: torch.arange(3),
    "complex": lambda: torch.ones(3, dtype=torch.complex64),
    "negated when it is read": lambda: torch._neg_view(torch.arange(3.0)),
    "an imaginary part": lambda: torch.ones(1, dtype=torch.complex64).conj().imag,
    "sparse": lambda: torch.eye(3).to_sparse(),
    "sparse rows": lambda: torch.eye(3).to_sparse_csr(),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "nested, jagged": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged),
    "without data": lambda: torch.ones(3, device="meta"),
    "of mkldnn": lambda: torch.ones(3, 3).to_mkldnn(),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "nothing but zeros": lambda: torch._efficientzerotensor(3),
    "of inference": lambda: _of_inference(),
    "of a class of its own": lambda: torch.arange(3.0).as_subclass(Own),
    "its memory given back": lambda: _given_back(),
}


def _of_inference() -> Tensor:
    with torch.inference_mode():
        return torch.arange(3.0)


def _given_back() -> Tensor:
    tensor = torch.arange(3.0)
    tensor.untyped_storage().resize_(0)
    return tensor


def is_plain(native: Any, tensor: Tensor) -> bool:
    into = torch.empty(tuple(tensor.shape)) if not tensor.is_nested else torch.empty(5)
    is_taken: bool = native.Copies().add(tensor, into)
    return is_taken


@pytest.mark.parametrize("name", PLAIN)
def test_plain_ones_are_taken_with_all_their_numbers(native: Any, name: str) -> None:
    tensor = PLAIN[name]()
    assert plain_address(tensor) and summary.KERNEL is not None
    copies, into = native.Copies(), torch.full(tuple(tensor.shape), -1.0)
    assert copies.add(tensor, into)
    copies.finish(summary.KERNEL.copy_address)
    assert torch.equal(into, tensor.detach())


@pytest.mark.parametrize("name", NOT_PLAIN)
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_others_are_left_to_python_as_python_leaves_them(native: Any, name: str) -> None:
    tensor = NOT_PLAIN[name]()
    assert not is_plain(native, tensor)
    assert name == "of inference" or not plain_address(tensor)


def test_one_of_another_shape_is_not_copied(native: Any) -> None:
    assert not native.Copies().add(torch.ones(2, 3), torch.ones(3, 2))
    assert not native.Copies().add(torch.ones(6), torch.ones(2, 3))


def test_of_more_dimensions_than_there_is_room_for(native: Any) -> None:
    assert not is_plain(native, torch.ones(2, *[1] * 12))


def test_what_torch_func_has_wrapped_is_left_to_python(native: Any) -> None:
    seen: list[bool] = []

    def function(x: Tensor) -> Tensor:
        seen.append(is_plain(native, x))
        return (x * x).sum()

    torch.func.grad(function)(torch.ones(3))
    torch.func.vmap(function)(torch.ones(2, 3))
    torch.func.functionalize(function)(torch.ones(3))
    assert seen == [False, False, False]


# ------------------------------------------------------------------------------------------ the hooks of an output


def _session(keep: list[Tensor]) -> Session:
    class Keeps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            out = self.inner(x)
            keep.append(out)
            result: Tensor = out.tanh()
            return result

    torch.manual_seed(0)
    model = Keeps()
    batches = [(torch.randn(4, 3), torch.randn(4, 3))] * 4
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Session(Recipe(model=model, dataset=batches, optimizer=optimizer, loss=nn.functional.mse_loss))


def _one_step(session: Session, keep: list[Tensor]) -> None:
    """A layer is left to Python the first time, and where its values are kept."""
    session.keeper.keeps_all = False
    session.forward(), session.backward(), session.step()
    keep.clear()


def _hooks_and_tap(session: Session, keep: list[Tensor]) -> tuple[Any, Any]:
    """Of the output of the newest forward, which nothing else has hooks on."""
    _one_step(session, keep)
    session.forward()
    hooks: Any = keep[0]._backward_hooks
    (tap,) = hooks
    return hooks, tap


def test_the_user_s_hook_joins_those_of_an_output_and_leaves_them() -> None:
    keep: list[Tensor] = []
    with _session(keep) as session:
        _one_step(session, keep)
        session.forward()
        seen: list[Tensor] = []
        hooks = keep[0]._backward_hooks
        assert type(hooks).__name__ == "Hooks"
        first, second = keep[0].register_hook(seen.append), keep[0].register_hook(lambda gradient: 2 * gradient)
        assert hooks is not None and len(hooks) == 3 and weakref.ref(hooks)() is hooks
        first.remove()
        assert len(hooks) == 2
        session.backward()
        second.remove()
        assert len(hooks) == 1 and not seen
    assert not hooks, "the session has taken its own away"


def test_hooks_end_in_any_order() -> None:
    """The output before its session, and after it; the dict alone; nothing is called that is gone."""
    keep: list[Tensor] = []
    with _session(keep) as session:
        hooks, tap = _hooks_and_tap(session, keep)
        keep.clear()
        session.backward()
        session.step()
        session.forward()
        gc.collect()
        del hooks
        gc.collect()
        tap.remove()
        tap.remove()
        session.backward()
        session.step()
        keep.clear()
        session.forward()
    kept = keep[0]._backward_hooks
    assert kept is not None and not kept
    del session
    gc.collect()
    keep[0].sum().backward()


def test_who_is_told_that_the_hooks_go_may_take_the_tap_away() -> None:
    keep: list[Tensor] = []
    with _session(keep) as session:
        hooks, tap = _hooks_and_tap(session, keep)
        told: list[Any] = []
        reference = weakref.ref(hooks, lambda _: told.append(tap.remove()))
        del hooks
        keep.clear()
        session.backward()
        session.step()
        session.forward()
        gc.collect()
        assert told == [None] and reference() is None


def test_a_shape_that_is_none_is_python_s_to_find_out() -> None:
    keep: list[Tensor] = []
    with _session(keep) as session:
        _one_step(session, keep)
        site = session.observer._sites.calls["inner", 0]
        site.plain_shape = ("no number",)  # type: ignore[assignment]
        session.forward()
        session.backward()
        session.step()
