"""How a script's exception is told: in which layer, with what inputs, on which line."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from gradscope.engine.quantities.values import dtype_name, shape_of
from gradscope.engine.script.launching.ending import ScriptEnd
from gradscope.engine.script.session import ScriptSession
from gradscope.engine.surroundings.error_parts import frames_of, message_of, safely
from gradscope.engine.surroundings.usercode import cut_traceback, describe_error
from gradscope.protocol.failure import Failure, FailureKind, GradscopeError

_MOST_INPUTS = 6
_EOF_OF_INPUT = "EOF when reading a line"
"""What input() raises with at the end of the file."""
_STDIN = "Its stdin is closed: nobody can type there while it runs in the window. "


def failure_of_script(end: ScriptEnd, session: ScriptSession | None) -> Failure | None:
    """None where the script has come to its end, or has left by `sys.exit`, without a word."""
    error = end.error
    if isinstance(error, GradscopeError):
        return error.failure
    if error is None:
        if end.words is not None:
            return Failure(kind=FailureKind.USER_CODE, sentence=f"The script has ended: {end.words}")
        return None
    layer = None if session is None else session.observer.innermost_layer(error)
    module = None if session is None or layer is None else session.observer.modules().get(layer[0])
    where = f" in layer {layer[0]}" if layer else ""
    given = ", ".join(safely(lambda: list(_inputs(error, module)), []))
    called = f", called with {given}" if given else ""
    why = _STDIN if isinstance(error, EOFError) and message_of(error) == _EOF_OF_INPUT else ""
    what = "What it had computed can still be looked at" if session is not None else "No training step was seen in it"
    return Failure(
        kind=FailureKind.USER_CODE,
        sentence=f"The script has ended{where}{called}: {describe_error(error)}. {why}{what}",
        traceback=cut_traceback(error),
        phase=None if session is None else session.book.inside,
        layer=layer[0] if layer else None,
        call=layer[1] if layer else 0,
    )


def _inputs(error: BaseException, module: nn.Module | None) -> Iterator[str]:
    """The tensors that its forward was called with: "x (32, 10) float32"."""
    for trace in frames_of(error) if module is not None else ():
        code, values = trace.tb_frame.f_code, trace.tb_frame.f_locals
        names = code.co_varnames[: code.co_argcount]
        if code.co_name != "forward" or not names or values.get(names[0]) is not module:
            continue
        for name in names[1 : _MOST_INPUTS + 1]:
            value = values.get(name)
            if isinstance(value, Tensor):
                yield f"{name} {shape_of(value)} {dtype_name(value.dtype)}"
        return
