"""Exports as the server serves them: files that the app attaches, progress, and cancelling while the main thread writes."""

from __future__ import annotations

import time

import numpy as np

from gradscope.engine.export.snapshot import measure_snapshot, write_snapshot
from gradscope.engine.serving.outbox import Outbox
from gradscope.engine.serving.shown import Shown
from gradscope.protocol import messages
from gradscope.protocol.codec import Frame
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages import Attachment

MAX_ATTACHED_BYTES = 1024**3
PROGRESS_INTERVAL_SECS = 0.1


class ExportCancelled(Exception):
    """A person has changed their mind."""


class Exporter:
    """Everything but `cancel` is called by the main thread."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._attached: dict[str, list[bytes]] = {}
        self._attached_bytes = 0
        self._cancelled_before = 0
        """Exports with a smaller request number than this are not wanted any more."""

    def cancel(self, number: int) -> None:
        """By the reader thread: request `number` wants no export that was asked for before it."""
        self._cancelled_before = number

    def attach(self, attachment: Attachment) -> None:
        """Keep a file, or its next piece, for the next export. Raises BadInput if it becomes too much."""
        self._attached_bytes += attachment.data.nbytes
        if self._attached_bytes > MAX_ATTACHED_BYTES:
            self._take_attached()
            raise BadInput(f"More than {MAX_ATTACHED_BYTES >> 20} MB were attached to a snapshot: none of it was kept")
        self._attached.setdefault(attachment.name, []).append(attachment.data.tobytes())

    def measure(self, session: Shown) -> messages.SnapshotSizes:
        sizes = measure_snapshot(session)
        return messages.SnapshotSizes(
            parts=tuple(messages.PartSize(part=part, size_bytes=size) for part, size in sizes.items() if part),
            always_bytes=sizes[None],
        )

    def export(self, session: Shown, frame: Frame) -> messages.Exported:
        """Answer an Export. Raises BadInput, or ExportCancelled."""
        request: messages.Export = frame.message
        attachments = self._take_attached()
        told_at = 0.0

        def progress(done: int, total: int) -> None:
            nonlocal told_at
            if self._cancelled_before > frame.number:
                raise ExportCancelled
            now = time.monotonic()
            if now - told_at >= PROGRESS_INTERVAL_SECS:
                told_at = now
                self._outbox.put(messages.ExportProgress(done_bytes=done, total_bytes=total))

        written = write_snapshot(
            session, request.path, contents=frozenset(request.parts), attachments=attachments, progress=progress
        )
        return messages.Exported(path=str(written.path), files=written.files, size_bytes=written.size_bytes)

    def _take_attached(self) -> list[Attachment]:
        attached, self._attached, self._attached_bytes = self._attached, {}, 0
        return [
            Attachment(name=name, data=np.frombuffer(b"".join(pieces), dtype=np.uint8))
            for name, pieces in attached.items()
        ]
