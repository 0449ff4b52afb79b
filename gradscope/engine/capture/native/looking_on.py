"""A function mode that looks on: the functions of torch's are called as without it, and told of afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch.overrides import TorchFunctionMode

from gradscope.engine.quantities.kernel.extension import NATIVE


class InPython:
    """What the extension's type does, where there is none. A warning that torch gives in a function then names a line of this
    file, and not the user's."""

    if TYPE_CHECKING:

        def after(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any], result: Any) -> None: ...

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        self.after(func, args, kwargs, result)
        return result


if TYPE_CHECKING:
    _Compiled = InPython
else:
    _Compiled = InPython if NATIVE is None else NATIVE.LooksOn


class LookingOn(_Compiled, TorchFunctionMode):
    """`after` follows each function that has returned. What it raises, the user's code gets."""

    def after(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any], result: Any) -> None:
        raise NotImplementedError
