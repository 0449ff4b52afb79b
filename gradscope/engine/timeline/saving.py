"""A timeline on disk, written as the training goes: checkpoint files, dense near now and sparse behind; a mark of each step.

The folder has `step-N.pt`, the checkpoint of before step N (see `checkpoints.save`), and `steps.jsonl`: a line that says what
this is, then for each step its number and its mark before its forward, and for each checkpoint the hash of its state. A file
is written under a temporary name, forced to the disk, and renamed: a process that is killed leaves whole ones. The newest
checkpoint stays until there is a newer one: where two do not fit into the limit, both are there for that moment.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from torch import Tensor

from gradscope.engine.checkpoints.file import write
from gradscope.engine.checkpoints.save import contents
from gradscope.engine.model.parameters import is_uninitialised, named_tensors
from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.engine.surroundings.usercode import describe_error
from gradscope.engine.timeline.marks import Marks, no_attributes
from gradscope.engine.timeline.pace import Pace
from gradscope.engine.timeline.state_hash import state_hash
from gradscope.engine.timeline.thinning import order_of_going
from gradscope.protocol.failure import BadInput, GradscopeError

STEPS_FILE = "steps.jsonl"
FORMAT_VERSION = 1
LIMIT_BYTES = 2**30
_SHARE = 0.05
"""Of the training's time, that checkpoints may take. A mark is made of each step all the same."""


def checkpoint_name(step: int) -> str:
    """Of the file with the state of before that step."""
    return f"step-{step}.pt"


class TimelineSaving:
    """Of a training that only goes forward. `before_step` is called before the forward of each step."""

    def __init__(
        self,
        stepper: Stepper,
        folder: str | os.PathLike[str],
        *,
        limit_bytes: int = LIMIT_BYTES,
        share: float | None = _SHARE,
    ) -> None:
        """`folder` is made; where it is there already it has to be empty. `limit_bytes` bounds the files in it, but for the
        newest checkpoint while its successor is written; `share` the part of the time that goes into checkpoints; None: one
        is kept of each step. Raises BadInput."""
        if limit_bytes < 1:
            raise BadInput(f"The limit of the timeline on disk is {limit_bytes} bytes; expected 1 or more")
        self.folder = checked_folder(folder)
        self._stepper, self._limit_bytes = stepper, limit_bytes
        self._pace = Pace()
        self._pace.share = share
        self._marks = Marks(stepper, no_attributes, nothing_is_cleared)
        self._sizes: dict[int, int] = {}
        """Of the checkpoint files, by their steps."""
        self._written_bytes = 0
        self._has_shapes = self._is_over = False
        self._has_made_folder = not self.folder.exists()
        try:
            self.folder.mkdir(exist_ok=True)
            # By lines: a process that is killed has written all but the newest.
            self._lines: TextIO = (self.folder / STEPS_FILE).open("x", buffering=1, encoding="utf-8")
        except OSError as error:
            raise BadInput(f"The timeline cannot be written to {self.folder}: {error.strerror or error}") from error
        try:
            self._guarded(lambda: self._note({"gradscope_timeline": FORMAT_VERSION}))
        except BaseException:
            self.discard()
            raise

    @property
    def used_bytes(self) -> int:
        return self._written_bytes + sum(self._sizes.values())

    @property
    def checkpoints(self) -> list[int]:
        """Steps before whose forward a state is on the disk."""
        return sorted(self._sizes)

    def before_step(self) -> None:
        """Between two steps. Raises BadInput, or what the user's code raises where its state is asked for; then nothing more
        is written, what is on the disk stays there, and the training is as before."""
        if not self._is_over:
            self._guarded(lambda: self._keep(is_last=False))

    def finish(self) -> None:
        """The training ends here: its newest state is kept too. Raises as `before_step` does."""
        if not self._is_over:
            self._guarded(lambda: self._keep(is_last=True))
        self.close()

    def close(self) -> None:
        """Nothing more is written."""
        self._is_over = True
        with contextlib.suppress(OSError):
            self._lines.close()

    def discard(self) -> None:
        """Nothing came of it: what was written is removed, and the folder if it was made for that."""
        self.close()
        with contextlib.suppress(OSError):
            for name in (*map(checkpoint_name, self._sizes), STEPS_FILE):
                (self.folder / name).unlink(missing_ok=True)
            self._sizes.clear()
            if self._has_made_folder:
                self.folder.rmdir()

    # ------------------------------------------------------------------------------------------ private

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self.close()
            if is_interruption(error) or isinstance(error, GradscopeError):
                raise
            said = error.strerror if isinstance(error, OSError) and error.strerror else describe_error(error)
            raise BadInput(f"The timeline cannot be written to {self.folder}: {said}") from error

    def _keep(self, *, is_last: bool) -> None:
        number = self._stepper.book.step
        self._note({"step": number, "mark": self._marks.now().digest.hex()})
        is_due = self._pace.is_due() or is_last
        if is_due and self._stepper.is_between_batches and not self._stepper.is_broken and self._is_shaped():
            started = time.perf_counter()
            self._save(number)
            self._pace.spend(time.perf_counter() - started)

    def _is_shaped(self) -> bool:
        """Each parameter has a shape: before, there is nothing that could be loaded."""
        if not self._has_shapes:
            tensors = named_tensors(self._stepper.recipe.model).values()
            self._has_shapes = not any(is_uninitialised(tensor) for tensor, _ in tensors)
        return self._has_shapes

    def _save(self, number: int) -> None:
        content = contents(self._stepper, [])
        # After the end of an epoch has drawn its numbers, and before the file: what is there can be verified.
        self._note({"step": number, "state": state_hash(self._stepper, counts_cleared=False)})
        self._lines.flush()
        os.fsync(self._lines.fileno())
        expected = _bytes_in(content)
        self._need_to_fit(expected)
        self._make_room(number, expected, stays=max(self._sizes, default=None))
        path, size = write(self.folder / checkpoint_name(number), content)
        try:
            self._need_to_fit(size)
        except BadInput:
            path.unlink()
            raise
        self._sizes[number] = size
        self._make_room(number, 0)

    def _need_to_fit(self, size: int) -> None:
        """Raises BadInput where a checkpoint is too large even alone: the others stay then."""
        if size + self._written_bytes > self._limit_bytes:
            raise BadInput(
                f"A checkpoint of this training takes {size / 2**20:,.1f} MiB, and {self._limit_bytes / 2**20:,.1f} MiB are "
                f"given to the timeline in {self.folder}"
            )

    def _make_room(self, number: int, size: int, stays: int | None = None) -> None:
        """So that so many more bytes fit, as far as that can be: the checkpoints of the steps `number` and `stays` stay."""
        if self.used_bytes + size <= self._limit_bytes:
            return
        steps = sorted({*self._sizes, number})
        sparse = [steps[place] for place in order_of_going(steps, number)]
        for step in [*sparse, *(step for step in steps if step not in {*sparse, number})]:
            if self.used_bytes + size <= self._limit_bytes:
                return
            if step == stays:
                continue
            (self.folder / checkpoint_name(step)).unlink(missing_ok=True)
            del self._sizes[step]

    def _note(self, content: dict[str, Any]) -> None:
        line = json.dumps(content) + "\n"
        self._lines.write(line)
        self._written_bytes += len(line)


def checked_folder(folder: str | os.PathLike[str]) -> Path:
    """Where a timeline of that name is to be written. Raises BadInput if that cannot be, as far as it can be known."""
    path = Path(folder).expanduser().absolute()
    if path.is_dir():
        try:
            is_empty = not any(path.iterdir())
        except OSError as error:
            raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
        if not is_empty:
            raise BadInput(f"{path} is not empty; expected a new or an empty folder for the timeline")
    elif os.path.lexists(path):
        raise BadInput(f"{path} exists already and is no folder; expected a new or an empty folder for the timeline")
    elif not path.parent.is_dir():
        raise BadInput(f"{path.parent} does not exist; expected a new folder in an existing one for the timeline")
    return path


def _bytes_in(content: Any) -> int:
    """Of the tensors in nested lists and dicts."""
    if isinstance(content, Tensor):
        return content.numel() * content.element_size()
    if isinstance(content, Mapping):
        return sum(map(_bytes_in, content.values()))
    return sum(map(_bytes_in, content)) if isinstance(content, (list, tuple)) else 0


def nothing_is_cleared() -> Callable[[Tensor], bool]:
    """For marks: where gradients count for one, they are cleared by hand only."""
    return lambda tensor: False
