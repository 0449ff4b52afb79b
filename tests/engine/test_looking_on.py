"""The function mode that looks on, compiled and in Python: what it sees, and what the user's code sees of it."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from gradscope.engine.capture.native.looking_on import InPython, LookingOn
from gradscope.engine.quantities.kernel.extension import NATIVE


def _mode(base: type, told: Callable[..., None]) -> Any:
    class Mode(base, TorchFunctionMode):  # type: ignore[misc]
        def after(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any], result: Any) -> None:
            told(func, args, kwargs, result)

    return Mode()


@pytest.mark.parametrize("base", [LookingOn, InPython])
def test_each_function_is_told_with_what_it_was_given_and_what_it_returned(base: type) -> None:
    told: list[tuple[str, int, dict[str, Any], Any]] = []
    x, layer = torch.ones(2, 3), nn.Linear(3, 1)
    plain = layer(torch.add(x, x, alpha=2)).sum()
    with _mode(base, lambda func, args, kwargs, result: told.append((func.__name__, len(args), kwargs, result))):
        loss = layer(torch.add(x, x, alpha=2)).sum()
        loss.backward()
    assert torch.equal(loss, plain)
    assert [(name, count) for name, count, _, _ in told] == [("add", 2), ("linear", 3), ("sum", 1), ("backward", 1)]
    assert told[0][2] == {"alpha": 2}
    assert told[2][3] is loss


@pytest.mark.parametrize("base", [LookingOn, InPython])
def test_what_a_function_raises_is_not_told(base: type) -> None:
    told: list[Any] = []
    with _mode(base, lambda *told_of: told.append(told_of)), pytest.raises(RuntimeError, match="shapes cannot be"):
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert [func.__name__ for func, *_ in told] == ["ones", "ones"]


@pytest.mark.parametrize("base", [LookingOn, InPython])
def test_what_looking_on_raises_is_raised(base: type) -> None:
    def fails(*told_of: Any) -> None:
        raise KeyboardInterrupt

    with _mode(base, fails), pytest.raises(KeyboardInterrupt):
        torch.ones(2)


@pytest.mark.parametrize("base", [LookingOn, InPython])
def test_what_is_no_dict_is_refused(base: type) -> None:
    with pytest.raises(TypeError):
        _mode(base, lambda *told_of: None).__torch_function__(len, (), ([1],), [1])


@pytest.mark.skipif(NATIVE is None, reason="the extension is not there")
def test_warnings_and_tracebacks_have_no_line_of_it() -> None:
    weight = torch.ones(1, requires_grad=True)
    with _mode(LookingOn, lambda *told_of: None), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        weight.grad_fn  # noqa: B018
        (2 * weight).grad  # noqa: B018
        try:
            torch.ones(2, 3) @ torch.ones(2, 3)
        except RuntimeError as error:
            files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    assert [warning.filename for warning in caught] == [__file__]
    assert files == [__file__]
