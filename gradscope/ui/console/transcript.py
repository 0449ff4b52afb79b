"""What was evaluated and what came of it, one below the other, with links to look closer."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QUrl, Signal, Slot
from PySide6.QtGui import QColor, QFont, QFontDatabase, QResizeEvent, QTextCharFormat, QTextCursor, QTextOption
from PySide6.QtWidgets import QTextBrowser, QWidget

from gradscope.protocol.messages.evaluate import Evaluated, TensorTold
from gradscope.protocol.numbers import number
from gradscope.protocol.visible import visible_lines
from gradscope.state.console import Entry
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.widgets.guarded import guarded

_WORTH_SAYING_SECS = 0.001
_LONGEST_TRACEBACK = 4000


@guarded
class Transcript(QTextBrowser):
    """Only grows, unless it is made anew; stays at the end unless it was scrolled up. Nothing in it is taken for HTML."""

    inspect_wanted = Signal(int, int)
    """(number of the entry, which of its tensors)"""
    select_wanted = Signal(int, int)
    watch_wanted = Signal(str)
    example_wanted = Signal(str)

    def __init__(self, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._themes = themes
        self._shown: list[tuple[int, bool]] = []
        """(number, whether its answer is there) of each entry."""
        self._entries: Sequence[Entry] = ()
        self._examples: tuple[str, ...] = ()
        self.setOpenLinks(False)
        self.setUndoRedoEnabled(False)
        self.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.document().setDocumentMargin(6)
        self.anchorClicked.connect(self._on_link_clicked)
        themes.changed.connect(self._on_theme_changed)

    def show_entries(self, entries: Sequence[Entry], examples: tuple[str, ...]) -> None:
        """`examples`: what is offered where there is no entry."""
        now = [(entry.number, entry.reply is not None) for entry in entries]
        is_same_example = self._examples == examples or bool(entries)
        self._entries, self._examples = entries, examples
        if now == self._shown and is_same_example:
            return
        is_at_end = self._is_at_end()
        if not self._goes_on(now):
            self.clear()
            self._shown = []
        if not entries:
            self.clear()
            self._show_examples()
        for entry, (number_, is_done) in zip(entries, now, strict=True):
            place = next((i for i, (known, _) in enumerate(self._shown) if known == number_), None)
            if place is None:
                self._write_prompt(entry)
            if is_done and (place is None or not self._shown[place][1]) and entry.reply is not None:
                self._write_answer(entry, entry.reply)
        self._shown = now
        if is_at_end:
            self._go_to_end()

    # ------------------------------------------------------------------------------------------ slots

    @Slot(QUrl)
    def _on_link_clicked(self, link: QUrl) -> None:
        what, _, rest = link.toString().partition(":")
        first, _, second = rest.partition(":")
        if not first.isdigit():
            return
        if what == "example" and int(first) < len(self._examples):
            self.example_wanted.emit(self._examples[int(first)])
        entry = next((entry for entry in self._entries if entry.number == int(first)), None)
        if entry is None:
            return
        if what == "watch":
            self.watch_wanted.emit(entry.text)
        elif second.isdigit() and what in ("inspect", "select"):
            signal = self.inspect_wanted if what == "inspect" else self.select_wanted
            signal.emit(entry.number, int(second))

    @Slot(object)
    def _on_theme_changed(self, _theme: Theme) -> None:
        self._shown = [(-1, True)]
        self.show_entries(self._entries, self._examples)

    # ------------------------------------------------------------------------------------------ writing

    def _goes_on(self, now: list[tuple[int, bool]]) -> bool:
        """Whether what is shown is the beginning of what is to be shown."""
        if not self._shown:
            return False
        numbers = [number_ for number_, _ in self._shown]
        return [number_ for number_, _ in now[: len(numbers)]] == numbers

    def _write_prompt(self, entry: Entry) -> None:
        theme = self._themes.theme
        lines = entry.text.splitlines() or [""]
        for i, line in enumerate(lines):
            self._begin_line()
            self._write(">>> " if i == 0 else "... ", theme.accent)
            self._write(line, theme.text, is_bold=True)
        if entry.keep:
            self._write("   effects kept", theme.warning)

    def _write_answer(self, entry: Entry, told: Evaluated) -> None:
        theme = self._themes.theme
        if told.output:
            self._write_lines(told.output.rstrip("\n"), theme.muted)
        if told.text:
            self._write_lines(told.text, theme.text)
        if told.error:
            # The last line of a traceback says the same.
            self._write_lines(told.error, theme.bad)
            if told.traceback:
                self._write_lines(_without_last_line(told.traceback)[-_LONGEST_TRACEBACK:], theme.muted)
        for note in told.notes:
            self._write_lines(note, theme.muted)
        if told.moved:
            said = "Changed for good: " if entry.keep else ""
            names = (
                told.moved if not entry.keep else (", ".join(told.moved[:8]) + (" ..." if len(told.moved) > 8 else ""),)
            )
            for text in names:
                self._write_lines(f"{said}{text}", theme.warning)
        if not (told.output or told.text or told.error or told.notes or told.moved):
            # An empty line would look as if nothing had happened.
            unchanged = self.tr("No value, and nothing has changed")
            put_back = self.tr("No value; what it changed is put back")
            self._write_lines(unchanged if entry.keep else put_back, theme.muted)
        self._write_links(entry, told)

    def _write_links(self, entry: Entry, told: Evaluated) -> None:
        theme = self._themes.theme
        links = []
        for i, tensor in enumerate(told.tensors):
            leaf = f" {tensor.leaf}" if tensor.leaf else ""
            links.append((f"Inspect{leaf}", f"inspect:{entry.number}:{i}"))
            if tensor.subject is not None:
                links.append((f"Show {tensor.subject.shown()} in the panels", f"select:{entry.number}:{i}"))
        is_expression = bool(told.text) and "\n" not in entry.text
        if is_expression:
            links.append(("Watch this", f"watch:{entry.number}"))
        time = _duration(told.seconds) if told.seconds >= _WORTH_SAYING_SECS else ""
        if not links and not time:
            return
        self._begin_line()
        for text, address in links:
            self._write_link(text, address)
            self._write("   ", theme.muted)
        self._write(time, theme.muted)

    def _show_examples(self) -> None:
        theme = self._themes.theme
        self._write(self.tr("Evaluate Python where the training stands, with what there is by name:"), theme.muted)
        self._write(" model, batch, x, target, output, loss, optimizer, grad(), activation()", theme.text)
        self._begin_line()
        self._write(self.tr("Try"), theme.muted)
        for i, example in enumerate(self._examples):
            # Spaces that do not break: a link stays together with its distance.
            self._write("\u2003", theme.muted)
            self._write_link(example, f"example:{i}")

    def _begin_line(self) -> None:
        if not self.document().isEmpty():
            cursor = self._end()
            cursor.insertBlock()

    def _write_lines(self, text: str, colour: str) -> None:
        for line in visible_lines(text).splitlines() or [""]:
            self._begin_line()
            self._write(line, colour)

    def _write(self, text: str, colour: str, *, is_bold: bool = False) -> None:
        form = QTextCharFormat()
        form.setForeground(QColor(colour))
        if is_bold:
            form.setFontWeight(QFont.Weight.DemiBold)
        self._end().insertText(visible_lines(text), form)

    def _write_link(self, text: str, address: str) -> None:
        form = QTextCharFormat()
        form.setForeground(QColor(self._themes.theme.accent))
        form.setAnchor(True)
        form.setAnchorHref(address)
        form.setFontUnderline(True)
        self._end().insertText(visible_lines(text), form)

    def _end(self) -> QTextCursor:
        cursor = QTextCursor(self.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        return cursor

    def _is_at_end(self) -> bool:
        bar = self.verticalScrollBar()
        return bar.value() >= bar.maximum() - 1

    def _go_to_end(self) -> None:
        self.verticalScrollBar().setValue(self.verticalScrollBar().maximum())

    # ------------------------------------------------------------------------------------------ Qt

    def resizeEvent(self, event: QResizeEvent) -> None:
        is_at_end = self._is_at_end()
        super().resizeEvent(event)
        if is_at_end and self._entries:
            self._go_to_end()


def told_of(tensor: TensorTold) -> str:
    """Its form in a line: "128 x 10, float32 on cpu, requires grad"."""
    shape = " x ".join("?" if side < 0 else str(side) for side in tensor.shape) or "one number"
    graph = f"grad_fn {tensor.grad_fn}" if tensor.grad_fn else "requires grad" if tensor.requires_grad else ""
    return ", ".join(part for part in (shape, f"{tensor.dtype} on {tensor.device}", graph, tensor.note) if part)


def _without_last_line(traceback: str) -> str:
    head, _, last = traceback.rpartition("\n")
    return traceback if last.strip() == "^" else head or traceback


def _duration(seconds: float) -> str:
    return f"{number(seconds, digits=2)} s" if seconds >= 1 else f"{number(1000 * seconds, digits=2)} ms"
