"""What an exception says, read so that nothing in it can raise or be without end: its class may be the user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, TypeGuard, TypeVar

from gradscope.engine.surroundings.unwinding import is_interruption

MOST_CHARACTERS = 20_000
"""Of one message."""
_MOST_LINKED, _MOST_NOTES, _MOST_IN_A_GROUP = 8, 8, 8
_T = TypeVar("_T")


def safely(read: Callable[[], _T], otherwise: _T) -> _T:
    """What `read` returns, or `otherwise` where it raises anything but an interruption."""
    try:
        return read()
    except BaseException as error:
        if is_interruption(error):
            raise
        return otherwise


def is_text(value: object) -> TypeGuard[str]:
    """As isinstance, which may ask the value itself what it is."""
    return issubclass(type(value), str)


def wire_text(text: str, most: int = MOST_CHARACTERS) -> str:
    """A plain str of at most about `most` characters, without the lone surrogates that UTF-8 does not have."""
    short = str.__getitem__(text, slice(0, most))
    left_out = str.__len__(text) - len(short)
    end = f"... ({left_out} characters left out)" if left_out else ""
    return short.encode("utf-8", "backslashreplace").decode() + end


def shortened(text: str, most: int) -> str:
    """At most `most` characters and a mark: up to the end of a sentence, or else of a word, where there is one."""
    if len(text) <= most:
        return text
    kept = text[:most]
    sentence = kept.rfind(". ") + 1
    word = kept.rfind(" ")
    end = sentence if sentence > most // 2 else word if word > most // 2 else most
    return f"{kept[:end]} ..."


def safe_text(value: object, make: Callable[[Any], str] = str, *, most: int = MOST_CHARACTERS) -> str:
    """`str(value)` (or `repr`) of anything. Where that raises, the class and what it raised."""
    try:
        made = make(value)
    except BaseException as error:
        if is_interruption(error):
            raise
        return f"(a {class_name(type(value))} whose text cannot be had: {class_name(type(error))})"
    return wire_text(made, most)


def class_name(cls: type) -> str:
    """A metaclass may say something else of `__name__`, or raise."""
    return wire_text(type.__dict__["__name__"].__get__(cls), 200)


def qualified_name(cls: type) -> str:
    """As at the end of a traceback: "package.module.Class", or "ValueError" for a builtin."""
    name = wire_text(type.__dict__["__qualname__"].__get__(cls), 200)
    module = module_name(cls)
    return name if module in ("", "builtins", "__main__") else f"{module}.{name}"


def module_name(cls: type) -> str:
    """Of the module that a class says it is from; "" where it says nothing that could be one."""
    module = safely(lambda: type.__dict__["__module__"].__get__(cls), "")
    return wire_text(module, 200) if is_text(module) else ""


def message_of(error: BaseException) -> str:
    """Its text; of a SyntaxError only what is wrong."""
    if issubclass(type(error), SyntaxError):
        said = _field(error, "msg", of=SyntaxError)
        if said is not None:
            return safe_text(said).strip()
    if issubclass(type(error), BaseExceptionGroup):
        return safe_text(_field(error, "message", of=BaseExceptionGroup))
    try:
        text = str(error)
    except BaseException as raised:
        if is_interruption(raised):
            raise
        return f"(its text cannot be had: {class_name(type(raised))} in its __str__)"
    return wire_text(text).strip()


def first_argument(error: BaseException) -> object:
    """`error.args[0]`, whatever its class makes of `args`; None where there is none."""
    arguments = _field(error, "args")
    return arguments[0] if isinstance(arguments, tuple) and arguments else None


def notes_of(error: BaseException) -> list[str]:
    """What `add_note` has added."""
    notes: Any = safely(lambda: getattr(error, "__notes__", None), None)
    return [safe_text(note) for note in notes[:_MOST_NOTES]] if type(notes) in (list, tuple) else []


def place_of_syntax_error(error: BaseException) -> tuple[str, int, str] | None:
    """(file, line, source) of a SyntaxError, where it says them as the language does; None otherwise."""
    if not issubclass(type(error), SyntaxError):
        return None
    file, line, text = (_field(error, name, of=SyntaxError) for name in ("filename", "lineno", "text"))
    if not is_text(file) or type(line) is not int:
        return None
    return wire_text(file, 1000), line, wire_text(text, 1000).strip() if is_text(text) else ""


def frames_of(error: BaseException) -> Iterator[TracebackType]:
    """From the outermost to the one that raised."""
    trace = _field(error, "__traceback__")
    while isinstance(trace, TracebackType):
        yield trace
        trace = trace.tb_next


def linked(error: BaseException) -> tuple[list[tuple[BaseException, str]], bool]:
    """What the error came from, the nearest first, each with how it led here; and whether there is more."""
    found: list[tuple[BaseException, str]] = []
    seen = {id(error)}
    while True:
        cause, context = _field(error, "__cause__"), _field(error, "__context__")
        if cause is not None:
            error, how = cause, "The above exception was the direct cause of the following exception:"
        elif context is not None and not _field(error, "__suppress_context__"):
            error, how = context, "During handling of the above exception, another exception occurred:"
        else:
            return found, False
        if id(error) in seen:
            return found, False
        if len(found) == _MOST_LINKED:
            return found, True
        seen.add(id(error))
        found.append((error, how))


def grouped(error: BaseException) -> tuple[list[BaseException], int]:
    """The first of the errors that an ExceptionGroup holds, and how many it holds; ([], 0) for another error."""
    if not issubclass(type(error), BaseExceptionGroup):
        return [], 0
    inside = _field(error, "exceptions", of=BaseExceptionGroup)
    return (list(inside[:_MOST_IN_A_GROUP]), len(inside)) if isinstance(inside, tuple) else ([], 0)


def _field(error: BaseException, name: str, of: type = BaseException) -> Any:
    """As the interpreter keeps it: a class may have put a property of its own in its place."""
    return safely(lambda: of.__dict__[name].__get__(error), None)
