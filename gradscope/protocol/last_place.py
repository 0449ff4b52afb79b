"""Where the engine stands, and what it says when it ends, in a small file that both processes have open.

A message that waits to be sent is lost when the user's code ends the process, and one that a thread sends waits while
that code holds the GIL. What is written here outlives both. Used by the engine and its guard, which have it mapped, and by
the app's GUI thread, which reads it as a file: where a mapped file has become shorter, a process dies of looking at it.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from gradscope.protocol.phases import INSIDE, Moment, Position, Rest, SubStep
from gradscope.protocol.visible import visible

PLACE_VARIABLE = "GRADSCOPE_PLACE"
_PLACE, _WORDS, _ENDED, _LAYER = slice(0, 512), slice(512, 1536), slice(1536, 1544), slice(1544, 1800)
_SIZE = _LAYER.stop
_IN_LAYER, _NO_LAYER = b"\x01", bytes(_LAYER.stop - _LAYER.start)
_TOLD = ("rest", "step", "epoch", "batch", "batches_per_epoch", "micro", "window", "optimizer")


def place_in_words(place: Position | None) -> str:
    """ "the forward of step 3, in layer conv2"; "" where it is inside no phase."""
    phase = None if place is None else next((phase for phase, rest in INSIDE.items() if rest is place.rest), None)
    if place is None or phase is None:
        return ""
    layer = "" if place.moment is None else f", in layer {visible(place.moment.layer) or '(model)'}"
    return f"the {phase.value} of step {place.step}{layer}"


class LayerPlace:
    """In which layer a forward is. Written twice in every call of a layer: a name is brought into its form once."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._forms: dict[str | None, bytes] = {None: _NO_LAYER}

    def __call__(self, name: str | None) -> None:
        """The innermost layer that has been entered and not left; None outside of all."""
        form = self._forms.get(name)
        if form is None:
            told = _IN_LAYER + (name or "").encode(errors="replace")
            form = self._forms[name] = told[: len(_NO_LAYER)].ljust(len(_NO_LAYER), b"\0")
        self._memory[_LAYER] = form


class LastPlace:
    """The app makes the file with `made()`, the engine opens it with `LastPlace(path)`."""

    _of_run: ClassVar[LastPlace | None] = None

    def __init__(self, path: str) -> None:
        self.path = path
        # A pipe in its place is not waited for.
        self._file = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
        try:
            self._memory = mmap.mmap(self._file, _SIZE)
        except (OSError, ValueError):
            os.close(self._file)
            raise
        self.layer = LayerPlace(self._memory)

    @classmethod
    def made(cls) -> LastPlace | None:
        """A new one; None where no file can be made. It is a help, and nothing depends on it."""
        path = ""
        try:
            file, path = tempfile.mkstemp(prefix="gradscope-place-")
            os.write(file, bytes(_SIZE))
            os.close(file)
            return cls(path)
        except (OSError, ValueError):
            if path:
                Path(path).unlink(missing_ok=True)
            return None

    @classmethod
    def of_environment(cls) -> LastPlace | None:
        """The one that the app has made for this process; None without."""
        try:
            return cls(os.environ.pop(PLACE_VARIABLE))
        except (KeyError, OSError, ValueError):
            return None

    def write(self, position: Position) -> None:
        text = json.dumps({name: getattr(position, name) for name in _TOLD}).encode()
        if len(text) < _PLACE.stop:
            # In one piece: whoever reads finds the old or the new one.
            self._memory[_PLACE] = text.ljust(_PLACE.stop, b"\0")

    def read(self) -> Position | None:
        """None before the first, where no recipe is open, and where something else has been written. Its moment is the layer
        that a forward is in, where that is known."""
        # Only the app reads: the guard is forked before numpy is imported, and the engine has to be able to say that it is
        # missing.
        from gradscope.protocol import values

        try:
            told = json.loads(self._read(_PLACE).rstrip(b"\0"))
            position: Position = values.decode(Position, told, values.Source([]), "the last place")
        except (OSError, ValueError, RecursionError, values.ProtocolError):
            return None
        if position.rest is Rest.IN_FORWARD and (layer := self._layer()) is not None:
            moment = Moment(step=position.step, substep=SubStep.FORWARD, event="enter", layer=layer)
            return replace(position, moment=moment)
        return None if position.rest is Rest.EMPTY else position

    def _layer(self) -> str | None:
        told = self._read(_LAYER)
        if not told.startswith(_IN_LAYER):
            return None
        # A long name may have been cut within a letter.
        return told.removeprefix(_IN_LAYER).rstrip(b"\0").decode(errors="ignore")

    def say(self, words: bytes) -> None:
        """Why the engine ends, in UTF-8. Uses next to nothing: the user's code may have broken whatever Python has."""
        self._memory[_WORDS] = words[:1024].ljust(1024, b"\0")

    def words(self) -> str:
        """What was said last; "" if nothing was."""
        try:
            return self._read(_WORDS).rstrip(b"\0").decode(errors="replace")
        except OSError:
            return ""

    def count_ended(self, number: int) -> None:
        """So many processes that the engine had left behind were ended."""
        self._memory[_ENDED] = number.to_bytes(8, "little")

    def ended(self) -> int:
        """How many processes that the engine had left behind were ended, as far as is known."""
        try:
            return int.from_bytes(self._read(_ENDED), "little")
        except OSError:
            return 0

    def _read(self, part: slice) -> bytes:
        os.lseek(self._file, part.start, os.SEEK_SET)
        return os.read(self._file, part.stop - part.start)

    @classmethod
    def of_run(cls) -> LastPlace | None:
        """The one that a run and the process that waits for it have mapped both; None elsewhere."""
        return cls._of_run

    @classmethod
    def make_for_run(cls) -> LastPlace | None:
        """Before the process is forked that is to do the run. No file is left of it."""
        cls._of_run = cls.made()
        if cls._of_run is not None:
            cls._of_run.forget_name()
        return cls._of_run

    def forget_name(self) -> None:
        """Both have it open now; where the system allows it, the file disappears with the two processes."""
        with contextlib.suppress(OSError):
            Path(self.path).unlink()

    def close(self) -> None:
        self._memory.close()
        os.close(self._file)
        self.forget_name()
