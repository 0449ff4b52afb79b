"""One export of a snapshot: measured, drawn, sent to the engine and followed until it is written. App process, GUI thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PySide6.QtCore import QObject, QTimer, Signal, Slot

from gradscope.protocol import messages
from gradscope.protocol.messages import Attachment
from gradscope.protocol.parts import Contents, Part
from gradscope.snapshots.format import saved_history
from gradscope.state.engine import EngineStatus
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.widgets.redraw import owing

_BASE64 = 4 / 3
"""What a picture grows by inside report.html."""


class SnapshotExport(QObject):
    """`prepare`, then `start` once or, after `failed`, again. Nothing can be asked of the session in between, by anybody."""

    measured = Signal()
    """More sizes are known."""
    refusal_changed = Signal()
    """`refusal` may say something else now."""
    progressed = Signal(str, object, object)
    """(what is being done, bytes done, bytes in all); 0 in all: unknown. Not as int, which has 32 bits here."""
    finished = Signal(str, object)
    """Path of the snapshot, and its size in bytes."""
    failed = Signal(str)
    """One sentence; nothing is left behind."""
    cancelled = Signal()
    """Nothing is left behind."""

    DRAWING, SENDING, WRITING = "drawing", "sending", "writing"

    def __init__(
        self,
        controller: Controller,
        plot_images: Callable[[], Iterator[Attachment]],
        *,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.sizes: dict[Part, int] = {}
        """In bytes, as far as they are known."""
        self.always_bytes = 0
        self._controller = controller
        self._history = controller.state.history.saved()
        self._pictures = plot_images()
        self._drawn: list[Attachment] = []
        self._is_drawn = False
        self._page_bytes: int | None = None
        self._wanted: tuple[Path, Contents] | None = None
        self._is_sent = False
        self._is_over = False
        self._refusal = self.refusal()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._on_next_picture)
        controller.export_progressed.connect(self._on_progressed)
        controller.refreshed.connect(self._on_refreshed)

    @property
    def is_running(self) -> bool:
        return self._wanted is not None

    def refusal(self) -> str | None:
        """Why nothing can be written now; None if it can."""
        return self._controller.state.at_rest_refusal()

    def prepare(self) -> None:
        """Ask for the sizes, and draw the plots, one after the other so that the window answers in between."""
        self.sizes[Part.HISTORY] = saved_history.size_of(self._history)
        self._controller.measure_snapshot(self._on_sizes)
        self._timer.start()

    def start(self, path: Path, parts: Contents) -> None:
        """Write these parts there."""
        self._wanted = (path, parts)
        self._is_sent = False
        if not self._needs_plots or self._is_drawn:
            self._send()
        else:
            self._tell_drawing()

    def cancel(self) -> None:
        """Break it off as soon as may be; `cancelled` comes when it is (or `finished`, if it was done already)."""
        if self._is_sent:
            self._controller.cancel_export()
        elif self._wanted is not None:
            self._wanted = None
            self.cancelled.emit()

    def close(self) -> None:
        """Nobody wants to hear of it any more."""
        self._is_over = True
        self._timer.stop()

    def total_bytes(self, parts: Contents) -> int | None:
        """The size of a snapshot with these parts; None while it is not known."""
        if not parts <= self.sizes.keys() or not self.always_bytes:
            return None
        return self.always_bytes + sum(self.sizes[part] for part in parts)

    # ------------------------------------------------------------------------------------------ slots

    def _on_sizes(self, reply: object) -> None:
        if self._is_over or not isinstance(reply, messages.SnapshotSizes):
            # It will fail when it is to be written as well, and say why.
            return
        self.always_bytes = reply.always_bytes
        sizes = {item.part: item.size_bytes for item in reply.parts}
        self._page_bytes = sizes.pop(Part.REPORT, None)
        self.sizes |= sizes
        self._measure_page()
        self.measured.emit()

    @Slot()
    def _on_next_picture(self) -> None:
        picture = next(self._pictures, None)
        if picture is not None:
            self._drawn.append(picture)
            self._tell_drawing()
            self._timer.start()
            return
        self._is_drawn = True
        self.sizes[Part.PLOTS] = sum(picture.data.nbytes for picture in self._drawn)
        self._measure_page()
        self.measured.emit()
        if self._wanted is not None and not self._is_sent:
            self._send()

    @Slot(object)
    def _on_progressed(self, progress: messages.ExportProgress) -> None:
        if self._is_sent:
            self.progressed.emit(self.WRITING, progress.done_bytes, progress.total_bytes)

    @Slot(object)
    @owing
    def _on_refreshed(self, changed: set[Topic]) -> None:
        engine, before = self._controller.state.engine, self._refusal
        self._refusal = self.refusal()
        if self._is_sent and Topic.ENGINE in changed and engine.status is not EngineStatus.READY:
            # Nobody will answer any more.
            self._fail(engine.text.partition("\n")[0] or self.tr("The engine is not running"))
        elif not self.is_running and self._refusal != before:
            self.refusal_changed.emit()

    def _on_reply(self, reply: object) -> None:
        if self._is_over or not self._is_sent:
            return
        if isinstance(reply, messages.Exported):
            self._end()
            self.finished.emit(reply.path, reply.size_bytes)
        elif isinstance(reply, messages.Cancelled):
            self._end()
            self.cancelled.emit()
        elif isinstance(reply, messages.Failed):
            # It is told in the dialog; the window need not say it a second time.
            self._controller.dismiss_failure()
            self._fail(reply.failure.sentence)

    # ------------------------------------------------------------------------------------------ private

    @property
    def _needs_plots(self) -> bool:
        return self._wanted is not None and bool(self._wanted[1] & {Part.PLOTS, Part.REPORT})

    def _send(self) -> None:
        assert self._wanted is not None
        path, parts = self._wanted
        attachments = self._drawn if self._needs_plots else []
        if Part.HISTORY in parts:
            attachments = attachments + [
                Attachment(name=name, data=np.frombuffer(data, dtype=np.uint8))
                for name, data in saved_history.encode(self._history).items()
            ]
        self._is_sent = True
        self.progressed.emit(self.SENDING, 0, 0)
        self._controller.export_snapshot(str(path), parts, attachments, self._on_reply)

    def _measure_page(self) -> None:
        if self._is_drawn and self._page_bytes is not None:
            pictures = sum(picture.data.nbytes for picture in self._drawn if picture.name.endswith(".png"))
            self.sizes[Part.REPORT] = self._page_bytes + round(_BASE64 * pictures)

    def _tell_drawing(self) -> None:
        if self._needs_plots and not self._is_sent:
            self.progressed.emit(self.DRAWING, 0, 0)

    def _fail(self, sentence: str) -> None:
        self._end()
        self.failed.emit(sentence)

    def _end(self) -> None:
        self._wanted = None
        self._is_sent = False
