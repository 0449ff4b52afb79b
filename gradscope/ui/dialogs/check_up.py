"""The check-up: which experiments would be run and how long they take; how far they are; what they have found."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtWidgets import QDialogButtonBox, QHeaderView, QProgressBar, QPushButton, QVBoxLayout, QWidget

from gradscope.protocol import messages
from gradscope.protocol.findings import Check, Planned, Progress, Verdict
from gradscope.state.findings import FindingsState
from gradscope.state.topics import Topic
from gradscope.ui.actions.check_ups import CheckUps
from gradscope.ui.actions.controller import Controller
from gradscope.ui.dialogs.sized_dialog import SizedDialog
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.models.cell_table import Cell, CellTableModel
from gradscope.ui.widgets.copy_table import CopyTable
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel
from gradscope.ui.widgets.redraw import owing
from gradscope.ui.words.findings import estimate_text, passes_in_short, passes_text, summary

_ROWS = 14
_DONE, _RUNNING, _WAITING, _FOUND, _LEFT = "✓", "▶", "·", "!", "–"


@guarded
class CheckUpDialog(SizedDialog):
    """Asks what would be run, and runs it when told to. Closing it breaks off what runs; training is as it was then."""

    findings_wanted = Signal()
    """Somebody wants to see what was found."""

    def __init__(
        self,
        controller: Controller,
        check_ups: CheckUps,
        themes: ThemeManager,
        *,
        only: tuple[str, ...] = (),
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._controller, self._check_ups, self._themes = controller, check_ups, themes
        self._only = only
        self._planned: tuple[Planned, ...] = ()
        self._running = -1
        """Which of them runs; those before it are done."""
        self._is_over = False
        self._checks: tuple[Check, ...] = ()
        """What has become of each rule, in the end."""
        self.setWindowTitle(self._title())
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._make_parts()
        self.say(self.tr("Asking the engine what can be tried out here"))
        controller.refreshed.connect(self._on_refreshed)
        themes.changed.connect(self._on_theme_changed)
        check_ups.ended.connect(self._on_ended)
        check_ups.plan(only, self._on_planned)

    def say(self, sentence: str) -> None:
        """Below the list."""
        self.status.setText(sentence)

    # ------------------------------------------------------------------------------------------ slots

    def _on_planned(self, reply: Any) -> None:
        if isinstance(reply, messages.CheckUpPlanned):
            # Those that are not run come last.
            self._planned = tuple(sorted(reply.planned, key=lambda planned: bool(planned.refusal)))
            self._show_rows()
            wanted = self._wanted()
            self.start.setEnabled(bool(wanted))
            self.start.setFocus()
            self.say(self._estimate() if wanted else self.tr("There is nothing that could be tried out here"))
        else:
            self.say(reply.failure.sentence)

    @Slot()
    def _on_start_clicked(self) -> None:
        if not self._check_ups.start(self._only):
            self.say(self._controller.state.check_up_refusal() or "")
            return
        self._running = 0
        self.start.setEnabled(False)
        self.cancel.setText(self.tr("Cancel"))
        self.cancel.setFocus()
        self.bar.setRange(0, 0)
        self._keep_bar_height(is_shown=True)
        self._show_rows()

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        found = self._controller.state.findings
        if Topic.FINDINGS in topics and found.is_checking and found.progress is not None:
            self._show_progress(found.progress)

    @Slot(object)
    def _on_theme_changed(self, _theme: Theme) -> None:
        self._show_rows()

    @Slot(object)
    def _on_ended(self, reply: object) -> None:
        self._is_over = True
        self._keep_bar_height(is_shown=False)
        self.cancel.setText(self.tr("Close"))
        self.cancel.setEnabled(True)
        if isinstance(reply, messages.CheckUpDone):
            self._running = len(self._planned)
            self._checks = reply.findings.checks
            state = FindingsState(self._controller.state.findings.dismissed)
            state.take(reply.findings)
            found = summary(state)
            self.say(
                self.tr("Done: {found}. Training is as it was").format(found=found or self.tr("nothing was found"))
            )
            self.show_findings.setVisible(bool(found))
            (self.show_findings if found else self.cancel).setDefault(True)
            (self.show_findings if found else self.cancel).setFocus()
        elif isinstance(reply, messages.Cancelled):
            self.say(self.tr("Cancelled: training is as it was"))
        elif isinstance(reply, messages.Failed):
            self.say(self.tr("Broken off: {why}. Training is as it was").format(why=reply.failure.sentence))
        else:
            self.say(self.tr("Broken off: the engine has ended"))
        self._show_rows()

    @Slot()
    def _on_show_clicked(self) -> None:
        self.findings_wanted.emit()
        self.accept()

    # ------------------------------------------------------------------------------------------ private

    def _title(self) -> str:
        if self._only:
            return self.tr("Check again")
        is_before = self._controller.state.position.step == 0
        return self.tr("Check-up before the first step") if is_before else self.tr("Check-up")

    def _make_parts(self) -> None:
        step = self._controller.state.position.step
        about = self.tr(
            "Tries out on this training, as it stands before step {step}, what may be wrong with it. Everything is put back "
            "afterwards, bit for bit; until then the session waits."
        )
        self.about = PlainLabel(about.format(step=step), self)
        self.about.setWordWrap(True)
        headers = (self.tr("Experiment"), self.tr("Passes"), self.tr("About"), self.tr("Now"))
        self.model = CellTableModel(headers, self)
        self.table = CopyTable(self)
        self.table.setModel(self.model)
        self.table.setAccessibleName(self.tr("Experiments"))
        self.table.setShowGrid(False)
        self.table.verticalHeader().hide()
        header = self.table.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.bar = QProgressBar(self)
        self.bar.setTextVisible(False)
        self._keep_bar_height(is_shown=False)
        self.status = PlainLabel(parent=self)
        self.status.setWordWrap(True)
        self.buttons = QDialogButtonBox(self)
        self.start = self.buttons.addButton(self.tr("Start"), QDialogButtonBox.ButtonRole.ActionRole)
        self.start.setDefault(True)
        self.start.setEnabled(False)
        self.start.clicked.connect(self._on_start_clicked)
        self.show_findings: QPushButton = self.buttons.addButton(
            self.tr("Show findings"), QDialogButtonBox.ButtonRole.ActionRole
        )
        self.show_findings.clicked.connect(self._on_show_clicked)
        self.show_findings.hide()
        self.cancel = self.buttons.addButton(self.tr("Close"), QDialogButtonBox.ButtonRole.RejectRole)
        self.buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 16)
        column.setSpacing(12)
        for widget in (self.about, self.table, self.bar, self.status, self.buttons):
            column.addWidget(widget, int(widget is self.table))

    def _keep_bar_height(self, *, is_shown: bool) -> None:
        """Nothing moves when it comes or goes."""
        policy = self.bar.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self.bar.setSizePolicy(policy)
        self.bar.setVisible(is_shown)

    def _wanted(self) -> list[Planned]:
        return [planned for planned in self._planned if not planned.refusal]

    def _estimate(self) -> str:
        wanted = self._wanted()
        passes = passes_text(sum(p.forward for p in wanted), sum(p.backward for p in wanted))
        seconds = estimate_text(sum(p.seconds for p in wanted))
        return self.tr("In all about {what}").format(what=", ".join(part for part in (passes, seconds) if part))

    def _show_progress(self, progress: Progress) -> None:
        titles = [planned.title for planned in self._wanted()]
        if progress.title in titles:
            self._running = titles.index(progress.title)
        self.bar.setRange(0, min(max(progress.planned, 1), 2**31 - 1))
        self.bar.setValue(min(progress.done, self.bar.maximum()))
        told = self.tr("{title}: {done} of about {planned} forwards")
        self.say(told.format(title=progress.title, done=f"{progress.done:,}", planned=f"{progress.planned:,}"))
        self._show_rows()

    def _show_rows(self) -> None:
        muted = self._themes.theme.muted
        rows: list[tuple[Cell, ...]] = []
        for number, planned in enumerate(self._planned):
            ids = ", ".join(planned.ids)
            if planned.refusal:
                rows.append(
                    (
                        Cell(text=planned.title, tip=ids, colour=muted),
                        Cell(text="", colour=muted),
                        Cell(text="", colour=muted),
                        Cell(text=self.tr("not judged"), colour=muted, tip=planned.refusal, is_number=True),
                    )
                )
                rows.append((Cell(text=f"    {planned.refusal}", colour=muted), *(Cell(text="") for _ in range(3))))
                continue
            is_running = number == self._running and not self._is_over
            rows.append(
                (
                    Cell(text=planned.title, tip=ids, is_strong=is_running),
                    Cell(
                        text=passes_in_short(planned.forward, planned.backward),
                        tip=passes_text(planned.forward, planned.backward),
                        is_number=True,
                    ),
                    Cell(text=estimate_text(planned.seconds), is_number=True),
                    self._now(number, planned, is_running=is_running),
                )
            )
        self.model.show_rows(tuple(rows))

    def _now(self, number: int, planned: Planned, *, is_running: bool) -> Cell:
        """What has become of an experiment: it waits, runs, is done; in the end, what it has come to."""
        theme = self._themes.theme
        if self._running < 0:
            return Cell(text="")
        checks = [check for check in self._checks if check.id in planned.ids]
        left = [check for check in checks if check.verdict is Verdict.NOT_JUDGED]
        if any(check.verdict is Verdict.FOUND for check in checks):
            return Cell(text=f"{_FOUND} {self.tr('found')}", colour=theme.warning, is_number=True)
        if checks and len(left) == len(checks):
            tip = "\n".join(check.reason for check in left if check.reason)
            return Cell(text=f"{_LEFT} {self.tr('not judged')}", tip=tip, colour=theme.muted, is_number=True)
        if checks:
            return Cell(text=f"{_DONE} {self.tr('nothing found')}", colour=theme.good, is_number=True)
        if number < self._running:
            return Cell(text=f"{_DONE} {self.tr('done')}", is_number=True)
        if is_running:
            return Cell(text=f"{_RUNNING} {self.tr('running')}", is_number=True)
        return Cell(text=f"{_WAITING} {self.tr('waits')}", is_number=True)

    # ------------------------------------------------------------------------------------------ Qt

    def reject(self) -> None:
        if self._controller.state.findings.is_checking and not self._is_over and self._running >= 0:
            self.say(self.tr("Cancelling, after the forward that runs"))
            self.cancel.setEnabled(False)
            self._check_ups.cancel()
            return
        super().reject()

    def sizeHint(self) -> QSize:
        metrics = self.fontMetrics()
        return QSize(112 * metrics.averageCharWidth(), (_ROWS + 10) * metrics.lineSpacing())

    def least_height(self) -> int:
        return self.sizeHint().height()
