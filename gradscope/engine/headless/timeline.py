"""Where a run of a recipe begins (a checkpoint, a step of a saved timeline, a later step), and the timeline that it saves."""

from __future__ import annotations

import sys
from types import TracebackType

from gradscope.engine.headless.outputs import say
from gradscope.engine.headless.progress import Progress
from gradscope.engine.session import Session
from gradscope.engine.surroundings.blame import users_code
from gradscope.engine.timeline.saved import is_timeline
from gradscope.engine.timeline.saving import LIMIT_BYTES, TimelineSaving
from gradscope.engine.timeline.state_hash import state_hash
from gradscope.protocol.failure import BadInput, GradscopeError
from gradscope.standard_streams import tell


def stand_at_start(session: Session, load: str | None, go_to: int | None, *, is_quiet: bool, says: bool) -> None:
    """To before the step that is asked for, from the beginning, from a checkpoint file, or by a timeline: `load` is a file or
    a folder. Runs that come there say the same of the state, if it is the same to what follows. Raises BadInput."""
    gate, session.book.gate = session.book.gate, None
    session.keeper.keeps_all = False
    progress = _Ahead(session, go_to, shown=not is_quiet and sys.stderr.isatty())
    came = ""
    try:
        if load is not None and is_timeline(load):
            came = _by_timeline(session, load, go_to, progress)
        else:
            for note in () if load is None else session.load_checkpoint(load).notes:
                tell(f"note: {note}")
            _ahead(session, go_to, progress)
    finally:
        progress.close()
        session.book.gate = gate
    if not came and go_to is None:
        return
    session.history.clear()
    if says:
        # As in a file: a pass that is over was asked for its end, as the next step does first, and the gradients of the step
        # before, which the next one clears, do not count.
        with users_code("The end of the data"):
            session.loop.batches.position()
        state = state_hash(session, counts_cleared=False)
        say(f"{session.info.name}: before step {session.position.step}, the state is {state}{came}")


class _Ahead:
    """How far it is to a step, on a terminal."""

    def __init__(self, session: Session, go_to: int | None, *, shown: bool) -> None:
        self._session, self._go_to, self._shown = session, go_to, shown
        self._progress: Progress | None = None
        self._from = 0

    def show(self) -> None:
        if self._progress is None:
            self._from = self._session.position.step
            planned = self._from if self._go_to is None else self._go_to
            self._progress = Progress(planned - self._from, shown=self._shown)
        self._progress.show(self._session.position.step - self._from, "on the way")

    def close(self) -> None:
        if self._progress is not None:
            self._progress.close()


def _ahead(session: Session, go_to: int | None, progress: _Ahead) -> None:
    if go_to is None:
        return
    here = session.position.step
    if go_to < here:
        raise BadInput(
            f"--go-to: the checkpoint stands before step {here}; expected that step or a later one, got {go_to}"
        )
    while session.position.step < go_to:
        session.advance()
        progress.show()


def _by_timeline(session: Session, folder: str, go_to: int | None, progress: _Ahead) -> str:
    """How it came there, and whether that is verified."""
    try:
        reached = session.load_timeline(folder, go_to, tick=progress.show)
    except BadInput as error:
        raise BadInput(f"--load-checkpoint: {error}", traceback=error.failure.traceback) from error
    for note in reached.notes:
        tell(f"note: {note}")
    verdict = {
        True: "the same as then",
        False: "not the same as then",
        None: "not compared: nothing was written down of it",
    }
    return f" ({verdict[reached.verified]}; from the checkpoint of step {reached.base})"


class TimelineOutput:
    """The timeline that a run saves; None: none is asked for. What goes wrong with it is told, and the training goes on."""

    def __init__(self, session: Session, folder: str | None, limit_mb: int | None) -> None:
        """Raises BadInput where it cannot be written at all."""
        self.has_failed = False
        self._saving: TimelineSaving | None = None
        self._is_begun = False
        self._session, self._from = session, session.position.step
        if folder is not None:
            limit_bytes = LIMIT_BYTES if limit_mb is None else limit_mb * 2**20
            self._saving = TimelineSaving(session, folder, limit_bytes=limit_bytes)

    def __enter__(self) -> TimelineOutput:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._saving is None:
            return
        if error is not None and self._session.position.step == self._from:
            # Without a step there is nothing to go to, and the same command is to find its folder as it was.
            self._saving.discard()
        self._saving.close()

    def before_step(self) -> None:
        """Raises the first time, where it cannot be written at all."""
        if self._saving is None or self.has_failed:
            return
        try:
            self._saving.before_step()
        except GradscopeError as error:
            if not self._is_begun:
                raise
            self._fail(self._saving, error)
        self._is_begun = True

    def finish(self) -> None:
        """The last step is made."""
        if self._saving is None or self.has_failed:
            return
        try:
            self._saving.finish()
        except GradscopeError as error:
            self._fail(self._saving, error)

    def _fail(self, saving: TimelineSaving, error: GradscopeError) -> None:
        self.has_failed = True
        kept = saving.checkpoints
        newest = f"{len(kept)} checkpoints, the newest of step {kept[-1]}, stay there" if kept else "nothing is there"
        there = f"1 checkpoint, of step {kept[0]}, stays there" if len(kept) == 1 else newest
        tell(f"{error}; {there}, and the training goes on without it")
