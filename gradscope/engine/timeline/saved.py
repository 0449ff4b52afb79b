"""A timeline on disk, read: the nearest checkpoint before a step is loaded, the steps between are made again, and what that
comes to is compared with what was written down when they were made (see `saving`). Nothing in the files is executed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradscope.engine.checkpoints.file import read
from gradscope.engine.checkpoints.load import DoesNotFit, load_content
from gradscope.engine.checkpoints.save import need_rest
from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.timeline.marks import Marks, no_attributes
from gradscope.engine.timeline.replay import why_approximate
from gradscope.engine.timeline.saving import FORMAT_VERSION, STEPS_FILE, checkpoint_name, nothing_is_cleared
from gradscope.engine.timeline.state_hash import state_hash
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages.checkpoints import CheckpointLoaded
from gradscope.protocol.phases import Rest

_NAME = re.compile(r"step-(0|[1-9]\d{0,17})\.pt")
_DIGEST = re.compile(r"[0-9a-f]{1,128}")
_MOST_LINE = 1000
"""Characters of a line."""


@dataclass(frozen=True)
class Reached:
    """A step of a saved timeline was gone to."""

    step: int
    base: int
    """From the checkpoint of this step."""
    verified: bool | None
    """Everything that could be compared was as it had been; None where nothing could be."""
    notes: tuple[str, ...]
    """Sentences about what is, or may be, another than then."""


def is_timeline(path: str | os.PathLike[str]) -> bool:
    """Whether a folder has a timeline in it."""
    folder = Path(path).expanduser()
    try:
        return any(path.name == STEPS_FILE or _NAME.fullmatch(path.name) for path in folder.iterdir())
    except OSError:
        return False


class SavedTimeline:
    """What is in the folder."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Raises BadInput where it has no timeline that can be read."""
        self.folder = Path(folder).expanduser().absolute()
        self.marks: dict[int, str] = {}
        """Of the training before these steps."""
        self.states: dict[int, str] = {}
        """Hashes of the state that these checkpoints hold."""
        self.notes: list[str] = []
        """Sentences about what could not be read beside them."""
        self.checkpoints: list[int] = []
        try:
            names = [_NAME.fullmatch(path.name) for path in self.folder.iterdir()]
            self.checkpoints = sorted(int(name[1]) for name in names if name is not None)
            self._read_steps()
        except OSError as error:
            said = error.strerror or error
            if not self.checkpoints:
                raise BadInput(f"The timeline in {self.folder} cannot be read: {said}") from error
            self.notes.append(f"{STEPS_FILE} cannot be read, and nothing is compared with it: {said}")

    @property
    def newest(self) -> int:
        """The newest checkpoint. Raises BadInput where there is none."""
        if not self.checkpoints:
            raise BadInput(
                f"The timeline in {self.folder} has no checkpoint; expected one with files such as step-0.pt"
            )
        return self.checkpoints[-1]

    def base_of(self, step: int) -> int:
        """The nearest checkpoint at that step or before it. Raises BadInput where there is none."""
        before = [number for number in self.checkpoints if number <= step]
        if not before:
            first = f"it begins with step {self.checkpoints[0]}" if self.checkpoints else "it has no checkpoint"
            raise BadInput(f"Step {step} cannot be gone to by the timeline in {self.folder}: {first}")
        return before[-1]

    def go_to(self, stepper: Stepper, step: int, tick: Callable[[], None]) -> Reached:
        """Stand before that step. A checkpoint that is damaged is passed over for the one before it. Raises BadInput where
        none leads there or can be loaded (then the session is as before), and what the user's code raises where it is run
        again. `tick` is called before each phase, and may raise.
        """
        base, said = self._load_before(stepper, step)
        marks, notes, compared = Marks(stepper, no_attributes, nothing_is_cleared), [*self.notes, *said], 0
        differs_from: int | None = None
        if base in self.states:
            compared += 1
            if state_hash(stepper, counts_cleared=False) != self.states[base]:
                differs_from = base
                notes.append(
                    f"The state is another than then from step {base} on, where it was loaded: the code has something that "
                    "is in no checkpoint file, or it is other code"
                )
        while stepper.book.step < step:
            tick()
            stepper.advance()
            number = stepper.book.step
            if stepper.book.rest is not Rest.READY or number not in self.marks:
                continue
            compared += 1
            if marks.now().digest.hex() != self.marks[number] and differs_from is None:
                differs_from = number
                notes.append(
                    f"The state is another than then from step {number} on: the code goes by something that is not put back, "
                    "the time or a generator of its own, or it computes in an order that varies"
                )
        if step > max(self.marks, default=step):
            notes.append(f"What comes after step {max(self.marks)} is new: the timeline in {self.folder} ends there")
        if base < step and (why := why_approximate(stepper.device)):
            notes.append(why)
        verified = None if not compared else differs_from is None
        return Reached(step, base, verified, tuple(dict.fromkeys(notes)))

    # ------------------------------------------------------------------------------------------ private

    def _load_before(self, stepper: Stepper, step: int) -> tuple[int, list[str]]:
        """(step of the nearest checkpoint that can be loaded, notes)."""
        need_rest(stepper, "loaded")
        notes: list[str] = []
        first: BadInput | None = None
        nearest = self.base_of(step)
        for base in reversed([number for number in self.checkpoints if number <= nearest]):
            try:
                loaded = self._load(stepper, base)
            except DoesNotFit:
                # As little as any other of these.
                raise
            except BadInput as error:
                first = first or error
                notes.append(f"{error}: the checkpoint before it is taken")
            else:
                return base, [*notes, *loaded.notes]
        assert first is not None
        raise first

    def _load(self, stepper: Stepper, base: int) -> CheckpointLoaded:
        file, content = read(self.folder / checkpoint_name(base))
        if content.get("step") != base:
            raise BadInput(f"{file} is of step {content.get('step')}; expected the checkpoint of step {base}")
        return load_content(stepper, file, content)

    def _read_steps(self) -> None:
        path = self.folder / STEPS_FILE
        with path.open(encoding="utf-8", errors="replace") as lines:
            number, damaged = 0, list[int]()
            while line := lines.readline(_MOST_LINE):
                number += 1
                content = _content(line)
                if content is None:
                    # The process was killed while it wrote the last one.
                    if line.endswith("\n") or number == 1:
                        damaged.append(number)
                elif "gradscope_timeline" in content:
                    if content["gradscope_timeline"] != FORMAT_VERSION:
                        raise BadInput(
                            f"{path} is no timeline of this version; expected one written by gradscope run --timeline"
                        )
                else:
                    for name, found in (("mark", self.marks), ("state", self.states)):
                        if name in content:
                            found[content["step"]] = content[name]
        if not number:
            self.notes.append(f"{path} is empty: nothing is compared")
        elif damaged:
            lines_are = "1 line is" if len(damaged) == 1 else f"{len(damaged)} lines are"
            self.notes.append(
                f"{path}: {lines_are} damaged, the first is line {damaged[0]}; what they tell is not compared"
            )


def _content(line: str) -> dict[str, Any] | None:
    """None where it is not what is written there."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    if "gradscope_timeline" in content:
        return content
    digests = [content[name] for name in ("mark", "state") if name in content]
    is_whole = type(content.get("step")) is int and digests
    return content if is_whole and all(type(text) is str and _DIGEST.fullmatch(text) for text in digests) else None
