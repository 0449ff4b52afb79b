"""The socket to the engine: listens on loopback, lets in the one that knows the token, speaks in frames.

App process, GUI thread. What has come in is worked off in short slices, so that the window answers in between; a large
message, as the description of a large model, is decoded in another thread, with what is worked out of it, and what comes
after it waits. What has not been
read yet waits in the engine, which knows then that the app lags.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from PySide6.QtCore import QObject, Qt, QTimer, Signal, Slot
from PySide6.QtNetwork import QAbstractSocket, QHostAddress, QTcpServer, QTcpSocket

from gradscope.client.candidate import Candidate
from gradscope.protocol.codec import Decoder, Frame, ProtocolError, decode, encode, header_bytes
from gradscope.state.ahead import worked_out

SLICE_SECS = 0.01
DRAIN_SECS = 0.2
"""Of this thread's own time: what an engine has said before its end is heard on a busy machine, too."""
MAX_CANDIDATES = 100
"""Connections that have not proved themselves; of more, the oldest make way. An engine says its Hello at once."""
LARGE_HEADER_BYTES = 50_000
"""From this on a message is decoded elsewhere: it takes some 10 ms."""
_READ_BYTES = 1 << 18


class LinkError(Exception):
    """The app cannot listen on this machine."""


class Link(QObject):
    """One engine's connection. A stranger (wrong token, garbage, silence) is dropped, and the link goes on listening."""

    hello = Signal(object)
    """The Hello of the engine that proved its token."""
    received = Signal(object)
    """Every Frame after that, in order."""
    broken = Signal(str)
    """The engine has sent something that is no frame, or cannot be true; the connection is closed."""
    lost = Signal()
    """The engine has closed the connection. What it had sent may still have to be taken in."""
    _decoded = Signal(object)
    """The Future of a Frame. Emitted in the other thread, taken in this one."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.token = secrets.token_hex(32)
        self._socket: QTcpSocket | None = None
        self._decoder = Decoder()
        self._arrived: Iterator[Frame | bytes] = iter(())
        """Frames, or what is to be decoded to one."""
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="gradscope-link")
        self._decoding: Future[Frame] | None = None
        self._decoded.connect(self._on_decoded, Qt.ConnectionType.QueuedConnection)
        self._candidates: list[Candidate] = []
        self._next_slice = QTimer(self)
        self._next_slice.setSingleShot(True)
        self._next_slice.timeout.connect(self._on_data)
        self._server = QTcpServer(self)
        self._server.newConnection.connect(self._on_connection)
        if not self._server.listen(QHostAddress(QHostAddress.SpecialAddress.LocalHost), 0):
            raise LinkError(f"gradscope cannot listen on 127.0.0.1: {self._server.errorString()}")

    # ------------------------------------------------------------------------------------------ public

    @property
    def port(self) -> int:
        return int(self._server.serverPort())

    @property
    def is_connected(self) -> bool:
        return self._socket is not None

    def send(self, message: Any, *, number: int = 0) -> None:
        """Queue a message; without a connection it is dropped. Raises ProtocolError if it is too large."""
        data = encode(message, number=number)
        if self._socket is not None:
            self._socket.write(data)

    def drain(self) -> None:
        """The engine has ended: take in now what it had still sent. Does not wait for more."""
        until = time.thread_time() + DRAIN_SECS
        self._take_decoded()
        self._work(time.thread_time, until)
        while self._socket is not None and time.thread_time() < until:
            if self._socket.state() is not QAbstractSocket.SocketState.ConnectedState:
                return
            if not self._socket.waitForReadyRead(0):
                return
            self._work(time.thread_time, until)

    def close(self) -> None:
        """Close everything; nothing more is emitted."""
        self._stop_listening()
        self._next_slice.stop()
        self._decoding = None
        # It is waited for: that thread tells this object when it is done.
        self._executor.shutdown(wait=True, cancel_futures=True)
        if self._socket is not None:
            socket, self._socket = self._socket, None
            socket.readyRead.disconnect(self._on_data)
            socket.disconnected.disconnect(self.lost)
            socket.flush()
            socket.disconnectFromHost()

    def break_off(self, error: ProtocolError) -> None:
        """Close the connection, since what came cannot be; `broken` says so."""
        self.close()
        self.broken.emit(f"The engine has sent something that gradscope does not understand: {error}")

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def _on_connection(self) -> None:
        while (socket := self._server.nextPendingConnection()) is not None:
            candidate = Candidate(socket, self.token, self)
            self._candidates.append(candidate)
            candidate.proved.connect(self._on_proved)
            candidate.dropped.connect(self._on_dropped)
            candidate.begin()
            if len(self._candidates) > MAX_CANDIDATES:
                self._candidates[0].drop()

    @Slot(object)
    def _on_proved(self, candidate: Candidate) -> None:
        self._candidates.remove(candidate)
        self._socket, self._decoder = candidate.release()
        self._stop_listening()
        self._socket.setReadBufferSize(_READ_BYTES)
        self._socket.setSocketOption(QAbstractSocket.SocketOption.ReceiveBufferSizeSocketOption, _READ_BYTES)
        self._socket.readyRead.connect(self._on_data)
        self._socket.disconnected.connect(self.lost)
        hello, *rest = candidate.frames
        self._arrived = iter(rest)
        candidate.deleteLater()
        self.hello.emit(hello.message)
        self._on_data()

    @Slot(object)
    def _on_dropped(self, candidate: Candidate) -> None:
        if candidate in self._candidates:
            self._candidates.remove(candidate)
            candidate.deleteLater()

    @Slot()
    def _on_data(self) -> None:
        if self._decoding is None and not self._next_slice.isActive():
            self._work(time.monotonic, time.monotonic() + SLICE_SECS, decode_elsewhere=True)

    @Slot(object)
    def _on_decoded(self, future: Future[Frame]) -> None:
        if future is self._decoding:
            self._take_decoded()
            self._on_data()

    # ------------------------------------------------------------------------------------------ private

    def _work(self, clock: Callable[[], float], until: float, *, decode_elsewhere: bool = False) -> None:
        try:
            while self._socket is not None:
                for arrived in self._arrived:
                    if isinstance(arrived, Frame):
                        frame = arrived
                    elif decode_elsewhere and header_bytes(arrived) > LARGE_HEADER_BYTES:
                        self._decoding = self._executor.submit(_decoded_elsewhere, arrived)
                        self._decoding.add_done_callback(self._decoded.emit)
                        return
                    else:
                        frame = decode(arrived)
                    self.received.emit(frame)
                    if self._socket is None:
                        return
                    if clock() > until:
                        self._next_slice.start(0)
                        return
                if not self._socket.bytesAvailable():
                    return
                self._arrived = self._decoder.payloads(bytes(self._socket.read(_READ_BYTES).data()))
        except ProtocolError as error:
            self.break_off(error)

    def _take_decoded(self) -> None:
        """Wait for what is being decoded elsewhere, if anything is, and take it in."""
        future, self._decoding = self._decoding, None
        if future is not None:
            try:
                frame = future.result()
            except ProtocolError as error:
                self.break_off(error)
                return
            self.received.emit(frame)

    def _stop_listening(self) -> None:
        self._server.close()
        candidates, self._candidates = self._candidates, []
        for candidate in candidates:
            candidate.drop()
            candidate.deleteLater()


def _decoded_elsewhere(payload: bytes) -> Frame:
    """In the other thread."""
    return worked_out(decode(payload))
