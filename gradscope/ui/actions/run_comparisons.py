"""Comparing two runs that have been recorded: files, or branches of the session. Read and computed off the GUI thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from gradscope.comparing import Beside, lay_over, read_run
from gradscope.comparing.reading.remembered import copied_sheets, run_of_branch
from gradscope.comparing.reading.run import Run
from gradscope.comparing.sheets import Sheet
from gradscope.protocol.failure import BadInput, GradscopeError
from gradscope.protocol.messages.timeline import Branch
from gradscope.state.history import History
from gradscope.ui.actions.controller import Controller
from gradscope.ui.words.timeline import branch_name

Result = Beside | GradscopeError


class FileComparison(QObject):
    """Of two files. One that is asked for while another is under way takes its place."""

    done = Signal(object)
    """Beside."""
    failed = Signal(str)
    """One sentence."""

    def __init__(self, controller: Controller, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._turn = 0
        self.is_busy = False

    def start(self, ours: str, theirs: str) -> None:
        self._turn += 1
        self.is_busy = True
        self._controller.background.run(partial(_of_files, ours, theirs), partial(self._on_done, self._turn))

    @Slot()
    def give_up(self) -> None:
        """What comes of it is of no interest any more."""
        self._turn += 1
        self.is_busy = False

    def _on_done(self, turn: int, result: Result) -> None:
        if turn != self._turn:
            return
        self.is_busy = False
        if isinstance(result, Beside):
            self.done.emit(result)
        else:
            self.failed.emit(str(result))


class BranchComparison(QObject):
    """Of a branch that training has left with the one that it is on."""

    changed = Signal()
    """It has begun, or there is something new to see."""

    def __init__(self, controller: Controller, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self.beside: Beside | None = None
        self.problem = ""
        """Why there is nothing to see, in one sentence."""
        self.other: int | None = None
        """The branch beside the one that training is on; None while nothing is compared."""
        self.is_busy = False
        self.compared_until = -1
        """The last step of the branch that training was on when it was compared."""
        self._turn = 0
        self._copying: Iterator[None] | None = None
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(0)
        self._rest.timeout.connect(self._copy_on)

    @Slot(int)
    def start(self, other: int) -> None:
        """Compare the branch that training is on, as the first, with another one."""
        self._turn += 1
        if other != self.other:
            self.beside = None
        self.other, self.problem, self.is_busy = other, "", True
        self._copying = self._copy(other)
        self._rest.start()
        self.changed.emit()

    @Slot()
    def again(self) -> None:
        """The same as both are now."""
        if self.other is not None:
            self.start(self.other)

    @Slot()
    def close(self) -> None:
        self._turn += 1
        self._copying = None
        self.other, self.beside, self.is_busy, self.problem = None, None, False, ""
        self.changed.emit()

    @property
    def is_stale(self) -> bool:
        """Training has gone on since, or is on another branch."""
        newest = self._controller.state.shown.newest
        return self.beside is not None and newest != self.compared_until

    # ------------------------------------------------------------------------------------------ private

    @Slot()
    def _copy_on(self) -> None:
        """A sheet in each turn of the event loop: the window has to answer meanwhile."""
        if self._copying is not None and next(self._copying, _NOTHING) is _NOTHING:
            self._copying = None
        if self._copying is not None:
            self._rest.start()

    def _copy(self, other: int) -> Iterator[None]:
        state = self._controller.state
        timeline = state.timeline
        theirs, branches, own = timeline.past.get(other), timeline.branches, timeline.branch
        if theirs is None:
            self._on_done(self._turn, BadInput(f"Nothing is kept any more of what was recorded on branch {other}"))
            return
        self.compared_until = state.shown.newest
        sheets: list[list[Sheet]] = [[], []]
        for side, history in zip(sheets, (state.history, theirs), strict=True):
            for sheet in copied_sheets(history):
                side.append(sheet)
                yield None
        ours_told = self.tr("now") if own == other else ""
        names = (
            _named(branches, own, ours_told),
            _named(branches, other, self.tr("before going back") * bool(ours_told)),
        )
        runs = [
            run_of_branch(name, side, {"branch": _facts(branches, number)})
            for name, side, number in zip(names, sheets, (own, other), strict=True)
        ]
        on_done: Callable[[Result], None] = partial(self._on_done, self._turn)
        self._controller.background.run(partial(_of_runs, runs[0], runs[1]), on_done)

    def _on_done(self, turn: int, result: Result) -> None:
        if turn != self._turn:
            return
        self.is_busy = False
        if isinstance(result, Beside):
            self.beside = result
        else:
            self.beside, self.problem = None, str(result)
        self.changed.emit()


_NOTHING = object()


def refusal_of(history: History | None, *, is_current: bool) -> str | None:
    """Why a branch cannot be compared with the one that training is on; None where it can."""
    if history is None:
        return "Training is on this branch" if is_current else "Nothing is kept any more of what was recorded on it"
    return None


def _named(branches: Mapping[int, Branch], number: int, more: str) -> str:
    branch = branches.get(number)
    name = f"Branch {number}" if branch is None else branch_name(branch)
    return f"{name}, {more}" if more else name


def _facts(branches: Mapping[int, Branch], number: int) -> dict[str, str]:
    branch = branches.get(number)
    if branch is None:
        return {}
    parent = "the beginning" if branch.parent is None else f"step {branch.from_step} of branch {branch.parent}"
    return {"begins at": parent, "changed there": branch.change or "nothing"}


def _of_files(ours: str, theirs: str) -> Result:
    try:
        return lay_over(read_run(ours), read_run(theirs))
    except GradscopeError as error:
        return error


def _of_runs(ours: Run, theirs: Run) -> Result:
    try:
        return lay_over(ours, theirs)
    except GradscopeError as error:
        return error
