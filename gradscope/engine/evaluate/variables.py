"""The variables of the user's code where it stands: those of the innermost frame of theirs, over the globals of its file."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from inspect import CO_OPTIMIZED
from types import FrameType
from typing import Any

from gradscope.engine.surroundings.frames import locals_of
from gradscope.engine.surroundings.usercode import is_users_file

_CAN_ASSIGN_LOCALS = sys.version_info >= (3, 13)


@dataclass(frozen=True)
class Variables:
    globals: dict[str, Any]
    locals: dict[str, Any]
    """Empty outside of any function."""
    function: str = ""
    """The function that they are local to; "" outside of any."""
    _frame: FrameType | None = None

    @staticmethod
    def of(frame: FrameType | None) -> Variables:
        """Of the innermost frame of the user's in the stack that ends with `frame`; none at all where there is none."""
        while frame is not None and not is_users_file(frame.f_code.co_filename):
            frame = frame.f_back
        if frame is None:
            return Variables({}, {})
        if not frame.f_code.co_flags & CO_OPTIMIZED:
            # At the top of a file, or in the body of a class.
            own = {} if frame.f_locals is frame.f_globals else dict(frame.f_locals)
            return Variables(frame.f_globals, own)
        return Variables(frame.f_globals, dict(locals_of(frame)), frame.f_code.co_name, frame)

    @property
    def all(self) -> dict[str, Any]:
        return {**self.globals, **self.locals}

    def roots(self) -> dict[str, object]:
        """What code can reach through them."""
        return {"the script's variables": self.globals, **self.locals} if self.globals else dict(self.locals)

    def assign(self, name: str, value: object) -> str:
        """Give a variable that is there another value. Why that cannot be, in a sentence; "" where it was done."""
        if name not in self.locals:
            self.globals[name] = value
            return ""
        if self._frame is None or not _CAN_ASSIGN_LOCALS:
            where = f"of {self.function}()" if self.function else "of a class"
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            return f"{name} is a local variable {where}, which Python {version} cannot assign from outside: it is as before"
        self._frame.f_locals[name] = value
        return ""
