"""What a forward writes into buffers, taken from one run and repeated in others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from gradscope.engine.model.copies import put_back


class BufferWrites(TorchFunctionMode):
    """Autograd takes what is in a buffer for a constant, also where a forward has just computed it of the parameters (the
    power iteration of a spectral norm). So has a difference to do: the first forward inside is listened to, and each later
    one finds in the buffers, wherever it has written to them, what the first one had written there.

    A buffer in whose place a forward puts another tensor is not seen.
    """

    def __init__(self, buffers: Iterable[Tensor]) -> None:
        super().__init__()
        self._buffers = {id(buffer): buffer for buffer in buffers}
        self._versions: dict[int, int] = {}
        self._written: list[tuple[int, Tensor]] = []
        self._next = 0
        self._is_listening = True

    def begin(self, *, is_first: bool) -> None:
        """A forward begins."""
        self._versions = {key: buffer._version for key, buffer in self._buffers.items()}
        self._next, self._is_listening = 0, is_first
        if is_first:
            self._written.clear()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name.endswith("_") or (kwargs and "out" in kwargs):
            # Also into a view of one.
            self._look_at(self._buffers)
        else:
            self._look_at([id(argument) for argument in args if id(argument) in self._buffers])
        return result

    def _look_at(self, keys: Iterable[int]) -> None:
        for key in keys:
            buffer = self._buffers[key]
            if buffer._version == self._versions[key]:
                continue
            if self._is_listening:
                self._written.append((key, buffer.detach().clone()))
            elif self._next < len(self._written):
                known, value = self._written[self._next]
                self._next += 1
                if known == key and value.shape == buffer.shape:
                    put_back(buffer, value)
            self._versions[key] = buffer._version
