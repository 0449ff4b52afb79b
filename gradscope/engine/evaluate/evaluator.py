"""Evaluates Python in a stopped training. The thread that trains calls it, and nobody else."""

from __future__ import annotations

import builtins
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from torch import Tensor

from gradscope.engine.evaluate import door
from gradscope.engine.evaluate.code import Compiled, Sources
from gradscope.engine.evaluate.names import Lookup, provided
from gradscope.engine.evaluate.output import Printed, caught
from gradscope.engine.evaluate.place import Place
from gradscope.engine.evaluate.telling import tensors_in, text_of
from gradscope.engine.evaluate.variables import Variables
from gradscope.engine.surroundings.blame import own_failure
from gradscope.engine.surroundings.error_parts import class_name, message_of, safely, shortened
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.engine.surroundings.usercode import cut_traceback
from gradscope.protocol.messages.evaluate import Evaluated, TensorTold
from gradscope.protocol.subjects import SubjectKey, SubjectKind

_LONGEST_ERROR = 500
NEWEST = "_"
"""The name of the newest value."""


@dataclass(frozen=True)
class Evaluation:
    """What came of it: `told` as others are told of it."""

    value: Any
    """None where there is none."""
    told: Evaluated

    @property
    def text(self) -> str:
        return self.told.text

    @property
    def error(self) -> str:
        return self.told.error


class Space:
    """The names that code sees: the console's own variables, over the user's where they stand, over what is provided."""

    def __init__(self, place: Place, own: Mapping[str, Any], variables: Variables, used: frozenset[str]) -> None:
        self.lookup = Lookup(place.book)
        self.variables = variables
        self.before = {**provided(place, self.lookup, used), **variables.all, **own}
        self.names: dict[str, Any] = {"__name__": "__console__", "__builtins__": builtins, **self.before}

    def changed(self) -> dict[str, Any]:
        """What the code has given a name to."""
        hidden = ("__name__", "__builtins__", "__annotations__")
        return {
            name: value
            for name, value in self.names.items()
            if name not in hidden and (name not in self.before or self.before[name] is not value)
        }

    def deleted(self) -> list[str]:
        return [name for name in self.before if name not in self.names]


class Evaluator:
    """Of one training. Variables that its code has made stay until the next evaluation."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.own: dict[str, Any] = {}
        """The console's own variables."""
        self._sources = Sources()

    def evaluate(self, text: str, *, keep: bool = False, frame: FrameType | None = None) -> Evaluation:
        """Evaluate statements, and the expression at their end. What the code raises is told, never raised.

        What it changes of the training is put back, bit for bit, unless `keep`. `frame`: the user's variables are those of
        the innermost frame of theirs in the stack that ends there. Raises what interrupts it, when everything is put back,
        and BadInput where nothing could be put back.
        """
        try:
            compiled = self._sources.compiled(text)
        except BaseException as error:
            if is_interruption(error):
                raise
            return Evaluation(None, _of_unreadable(error))
        space = Space(self.place, self.own, Variables.of(frame), compiled.names)
        run = _Run(space, compiled, self._subject_of)
        roots = {**space.variables.roots(), **self.place.names()}
        moved: list[str]
        if keep:
            with door.moved_inside(self.place, roots) as moved, self.interruptible():
                run.go()
        else:
            with door.put_back_after(self.place, roots) as aside, self.interruptible():
                run.go()
            moved = list(aside.notes)
        notes = self._keep_names(space, keep=keep)
        if run.has_value and run.value is not None:
            self.own[NEWEST] = run.value
        return Evaluation(run.value, run.told(moved, notes))

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Inside, code of a person's runs, which may be broken off."""
        # In the middle of a forward it is on already, and stays so.
        code = self.place.user_code
        before, code.is_on = code.is_on, True
        try:
            yield
        finally:
            code.is_on = before

    def _keep_names(self, space: Space, *, keep: bool) -> list[str]:
        """The variables that the code has made are the console's own; the user's are theirs, unless effects are kept."""
        notes = []
        theirs = space.variables.all
        for name, value in space.changed().items():
            if keep and name in theirs and name not in self.own:
                reason = space.variables.assign(name, value)
                notes += [reason] if reason else []
                continue
            if name not in self.own and name in space.before and name != NEWEST:
                whose = "the script's" if name in theirs else "what it stood for"
                notes.append(
                    f"{name} is a variable of the console now, and {whose} is as before: del {name} goes back to it"
                )
            self.own[name] = value
        for name in space.deleted():
            self.own.pop(name, None)
        return notes

    def _subject_of(self, tensor: Tensor, lookup: Lookup) -> SubjectKey | None:
        given = lookup.given.get(id(tensor))
        if given is not None:
            return given[1]
        observer = self.place.book.observer
        for name, parameter in observer.tensors().items():
            if parameter is tensor:
                return SubjectKey(SubjectKind.PARAMETER, name)
            if parameter.is_leaf and parameter.grad is tensor:
                return SubjectKey(SubjectKind.GRAD, name)
        named = (name for name, buffer in observer.buffers().items() if buffer is tensor)
        return next((SubjectKey(SubjectKind.BUFFER, name) for name in named), None)


class _Run:
    """One evaluation: what it prints, gives or raises."""

    def __init__(self, space: Space, compiled: Compiled, subject_of: Any) -> None:
        self._space, self._compiled, self._subject_of = space, compiled, subject_of
        self.value: Any = None
        self.has_value = False
        self._error: Evaluated | None = None
        self._printed = Printed()
        self._text, self._seconds = "", 0.0
        self._tensors: tuple[TensorTold, ...] = ()

    def go(self) -> None:
        """Raises nothing but an interruption."""
        compiled, names, process = self._compiled, self._space.names, os.getpid()
        began = time.perf_counter()
        with caught() as self._printed:
            try:
                if compiled.statements is not None:
                    exec(compiled.statements, names)
                if compiled.expression is not None:
                    self.value = eval(compiled.expression, names)
                    self.has_value = True
                self._seconds = time.perf_counter() - began
                if self.value is not None:
                    self._text = text_of(self.value)
                    self._tensors = tensors_in(self.value, lambda tensor: self._subject_of(tensor, self._space.lookup))
            except BaseException as error:
                if os.getpid() != process:
                    # A child that was forked in there is nobody's engine.
                    os._exit(1)
                self._seconds = time.perf_counter() - began
                if is_interruption(error):
                    raise
                self.value, self.has_value = None, False
                self._error = _of_error(error)
        if os.getpid() != process:
            os._exit(0)

    def told(self, moved: list[str], notes: list[str]) -> Evaluated:
        failed = self._error
        return Evaluated(
            text="" if failed else self._text,
            output=self._printed.text,
            tensors=() if failed else self._tensors,
            seconds=self._seconds,
            error=failed.error if failed else "",
            traceback=failed.traceback if failed else "",
            moved=tuple(moved[:1000]),
            notes=tuple(notes[:1000]),
        )


def sentence_of(error: BaseException) -> str:
    """What the code has raised, in a line."""
    own = own_failure(error)
    if own is not None:
        return own.sentence
    if issubclass(type(error), SystemExit):
        return "sys.exit() was called: nothing ends by it here"
    message = message_of(error)
    name = class_name(type(error))
    return shortened(f"{name}: {message}" if message else name, _LONGEST_ERROR)


def _of_error(error: BaseException) -> Evaluated:
    if issubclass(type(error), EOFError) and message_of(error) == "EOF when reading a line":
        return Evaluated(error="EOFError: input() was called, and there is nobody here to answer it")
    return Evaluated(error=sentence_of(error), traceback="" if own_failure(error) else cut_traceback(error))


def _of_unreadable(error: BaseException) -> Evaluated:
    """A text that is no Python, with where it is not."""
    if not isinstance(error, SyntaxError):
        return Evaluated(error=sentence_of(error))
    line, column = error.lineno or None, error.offset or None
    where = f" (line {line}, column {column})" if line and column and line > 0 and column > 0 else ""
    source = safely(lambda: (error.text or "").rstrip("\n"), "")
    shown = f"{source}\n{' ' * (column - 1)}^" if source and column and column > 0 else ""
    return Evaluated(
        error=f"{class_name(type(error))}: {message_of(error)}{where}",
        traceback=shown,
        line=line if line and line > 0 else None,
        column=column if column and column > 0 else None,
    )
