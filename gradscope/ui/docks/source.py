"""The Source panel: the user's line at which training stands, or that made a call, in its file; and the stack above it."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

from PySide6.QtCore import QItemSelectionModel, QModelIndex, Qt, Signal, Slot
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QMenu, QStackedLayout, QTableView, QWidget

from gradscope.protocol import messages
from gradscope.protocol.messages import Place, SourceText
from gradscope.protocol.phases import Rest
from gradscope.protocol.source import SourceLine
from gradscope.protocol.visible import visible
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.docks.code_view import CodeView
from gradscope.ui.docks.panel import Panel
from gradscope.ui.docks.source_split import SourceSplit
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.models.stack import StackColumn, StackModel, file_name
from gradscope.ui.widgets.empty_note import EmptyNote
from gradscope.ui.widgets.plain import plain_tip
from gradscope.ui.widgets.redraw import Held, owing

_MOST_FILES = 20
"""Whose texts are at hand; others are asked for again."""


class SourceDock(Panel):
    """It follows training: to where it is stopped, to where a script stood; and it goes where it is told to."""

    file_shown = Signal()
    """The text of another file is in the view."""
    margin_clicked = Signal(str, int)
    """A file, and the line of it beside which a person has clicked."""
    menu_filling = Signal(object, str, int)
    """QMenu, a file and a line: who has something to offer for the line adds that now."""

    def __init__(self, controller: Controller, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(self.tr("Source"), name="sourceDock", themes=themes, parent=parent)
        self._controller = controller
        self._is_following = Held()
        self._texts: OrderedDict[str, SourceText] = OrderedDict()
        self._file = ""
        """Whose text is in the view."""
        self._wanted: tuple[SourceLine, str] | None = None
        """The line that is to be shown, and what it is about."""
        self._is_owed = False
        """It has not been shown: the panel was out of sight."""
        self._asked: object = None
        self._known: tuple[object, ...] = ()
        """Where training stood when that was looked at the last time."""
        self.view = CodeView(themes, self)
        self.view.setAccessibleName(self.tr("Source"))
        self.view.margin_clicked.connect(self._on_margin_clicked)
        self.view.menu_filling.connect(self._on_menu_filling)
        self.stack_model = StackModel(themes.theme, self)
        self.stack = self._make_stack()
        self._split = SourceSplit(self.view, self.stack, self)
        self._empty = EmptyNote("", self)
        self._pages = QStackedLayout()
        self._pages.addWidget(self._empty)
        self._pages.addWidget(self._split)
        self.body.addLayout(self._pages, 1)
        self._say(self._nothing_yet())
        self._follow(is_another_session=True)
        controller.panels_refreshed.connect(self._on_refreshed)
        themes.changed.connect(self._on_theme_changed)
        self.visibilityChanged.connect(self._on_visibility_changed)

    # ------------------------------------------------------------------------------------------ public

    def show_place(self, place: Place) -> None:
        """The line that made a call. Of what is no call of a layer, and of a snapshot, there is none."""
        if place.event != "call" or self._controller.state.snapshot is not None:
            return
        name = visible(place.layer) or self.tr("the model")
        if place.line is not None:
            self._go_to(place.line, self.tr("calls %1").replace("%1", name))
            return
        self._wanted, self._asked = None, None
        self._show_no_line()
        sentence = self.tr("No line of yours calls %1: torch, another package or gradscope does").replace("%1", name)
        if self._pages.currentWidget() is self._empty:
            self._empty.setText(sentence)
        else:
            self._tell(sentence, file=self._file)

    @property
    def file(self) -> str:
        """Whose text is in the view; "" for none."""
        return self._file

    def view_is_wanted(self) -> bool:
        """False while the panel is closed or behind another tab: it catches up when it is shown."""
        return not self.visibleRegion().isEmpty()

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & {Topic.SESSION, Topic.SOURCE}:
            self._follow(is_another_session=Topic.SESSION in topics)

    @Slot(bool)
    def _on_visibility_changed(self, is_visible: bool) -> None:
        if is_visible and self._is_owed:
            self._show_wanted()

    @Slot(object)
    def _on_theme_changed(self, theme: Theme) -> None:
        self.stack_model.set_theme(theme)

    @Slot(QModelIndex, QModelIndex)
    def _on_current_changed(self, current: QModelIndex, _previous: QModelIndex) -> None:
        if not self._is_following and current.isValid():
            self._on_row_chosen(current)

    @Slot(QModelIndex)
    def _on_row_chosen(self, index: QModelIndex) -> None:
        line = self.stack_model.line(index.row())
        if line is not None:
            self._go_to(line, self._about_stack(index.row()))

    @Slot(int)
    def _on_margin_clicked(self, line: int) -> None:
        if self._file and self._controller.state.snapshot is None:
            self.margin_clicked.emit(self._file, line)

    @Slot(object, int)
    def _on_menu_filling(self, menu: QMenu, line: int) -> None:
        if self._file and self._controller.state.snapshot is None:
            self.menu_filling.emit(menu, self._file, line)

    # ------------------------------------------------------------------------------------------ where to

    def _follow(self, *, is_another_session: bool) -> None:
        state = self._controller.state
        if is_another_session:
            self._texts.clear()
            self._wanted, self._asked, self._file = None, None, ""
            self._known = ()
            self._show_no_line()
        if state.snapshot is not None:
            self._say(self.tr("A snapshot holds no source: it has what was computed, not the code that did it"))
        elif is_another_session:
            self._say(self._nothing_yet())
        known = (state.stack, state.line)
        if known == self._known or state.snapshot is not None:
            return
        before, self._known = self._known, known
        with self._is_following:
            self.stack_model.show_stack(state.stack)
            self._lay_out_stack()
        if state.stack:
            with self._is_following:
                self._select_row(0)
            self._go_to(state.stack[0].line, self._about_stack(0))
        elif state.line is not None:
            self._go_to(state.line, self.tr("where the newest phase ended"))
        elif before and before[0]:
            # It has gone on from where it was stopped: the file stays, and no line of it is the current one.
            self._wanted, self._asked = None, None
            self._show_no_line()

    def _about_stack(self, row: int) -> str:
        if self._controller.state.position.rest is Rest.ENDED:
            return self.tr("the script has failed here") if row == 0 else self.tr("has called what has failed")
        return self.tr("stopped here") if row == 0 else self.tr("has called what is stopped")

    def _go_to(self, line: SourceLine, about: str) -> None:
        self._wanted = line, about
        self._show_wanted()

    def _show_wanted(self) -> None:
        """Show the line if its text is at hand and the panel can be seen; else see to it that it will be."""
        self._is_owed = not self.view_is_wanted()
        if self._wanted is None or self._is_owed:
            return
        line, about = self._wanted
        found = self._texts.get(line.file)
        if found is None:
            self._ask(line.file)
            return
        self._texts.move_to_end(line.file)
        if self._file != line.file:
            self._file = line.file
            self.view.show_code(found.text)
            self.file_shown.emit()
        self._pages.setCurrentWidget(self._split)
        self.view.mark(line.line)
        name = visible(file_name(line.file))
        where = self.tr("%1, line %2").replace("%2", str(line.line)).replace("%1", name) if line.line else name
        if line.line and not self.view.marked:
            too_long, shorter = self.tr("the file is too long to be shown to there"), self.tr("the file ends before it")
            about = too_long if found.truncated else shorter
        self._tell(f"{where}: {about}", file=line.file)

    def _show_no_line(self) -> None:
        self.view.mark(0)
        self._tell(visible(file_name(self._file)), file=self._file)

    def _tell(self, note: str, *, file: str) -> None:
        """Above the code; the tooltip has what is cut off, and where the file lies."""
        self.set_title_note(note)
        self.title_bar.note.setToolTip(plain_tip(f"{note}\n{file}" if file else note))

    # ------------------------------------------------------------------------------------------ the text

    def _ask(self, file: str) -> None:
        asked = self._asked = object()
        self._controller.ask(messages.FetchSource(file=file), partial(self._on_answered, asked))

    def _on_answered(self, asked: object, reply: object) -> None:
        if asked is not self._asked:
            # Another line is wanted by now, or it is another session.
            return
        self._asked = None
        if isinstance(reply, SourceText):
            self._texts[reply.file] = reply
            while len(self._texts) > _MOST_FILES:
                self._texts.popitem(last=False)
            self._show_wanted()
        elif isinstance(reply, messages.NoSource) and self._wanted is not None and self._wanted[0].file == reply.file:
            self._file = ""
            self._tell(visible(file_name(reply.file)), file=reply.file)
            self._say(reply.reason)

    def _say(self, sentence: str) -> None:
        self._empty.setText(sentence)
        self._pages.setCurrentWidget(self._empty)

    def _nothing_yet(self) -> str:
        if self._controller.state.session is None:
            return self.tr("Open a recipe to begin")
        return self.tr(
            "Pause inside a layer, or click a layer's call in Moments: the line of your code that made the call is shown here"
        )

    # ------------------------------------------------------------------------------------------ the stack

    def _make_stack(self) -> QTableView:
        view = QTableView(self)
        view.setModel(self.stack_model)
        view.setAccessibleName(self.tr("The lines that led there, the innermost first"))
        view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        view.setTabKeyNavigation(False)
        view.setShowGrid(False)
        view.setWordWrap(False)
        view.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        vertical = view.verticalHeader()
        vertical.hide()
        vertical.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        vertical.setDefaultSectionSize(view.fontMetrics().height() + 8)
        header = view.horizontalHeader()
        header.setHighlightSections(False)
        for column in (StackColumn.FUNCTION, StackColumn.FILE):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(StackColumn.LINE, QHeaderView.ResizeMode.ResizeToContents)
        view.selectionModel().currentChanged.connect(self._on_current_changed)
        view.clicked.connect(self._on_row_chosen)
        view.hide()
        return view

    def _lay_out_stack(self) -> None:
        self.stack.setVisible(self.stack_model.rowCount() > 0)
        self.stack.clearSpans()
        for row in range(self.stack_model.rowCount()):
            if self.stack_model.line(row) is None:
                self.stack.setSpan(row, 0, 1, len(StackColumn))
        self._split.arrange()

    def _select_row(self, row: int) -> None:
        flags = QItemSelectionModel.SelectionFlag
        index = self.stack_model.index(row, 0)
        self.stack.selectionModel().setCurrentIndex(index, flags.ClearAndSelect | flags.Rows)
