"""The socket to the engine: listens on loopback, lets in the one that knows the token, speaks in frames."""

from __future__ import annotations

import hmac
import secrets
from typing import Any

from PySide6.QtCore import QObject, QTimer, Signal, Slot
from PySide6.QtNetwork import QAbstractSocket, QHostAddress, QTcpServer, QTcpSocket

from gradscope.protocol.codec import Decoder, Frame, ProtocolError, encode
from gradscope.protocol.messages import Hello

HELLO_TIMEOUT_SECS = 10.0
_MAX_HELLO_BYTES = 4096


class LinkError(Exception):
    """The app cannot listen on this machine."""


class Link(QObject):
    """One engine's connection. A stranger (wrong token, garbage, silence) is dropped, and the link goes on listening."""

    hello = Signal(object)
    """The Hello of the engine that proved its token."""
    received = Signal(object)
    """Every Frame after that, in order."""
    broken = Signal(str)
    """The engine has sent something that is no frame; the connection is closed."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.token = secrets.token_hex(32)
        self._socket: QTcpSocket | None = None
        self._decoder = Decoder()
        self._candidates: list[_Candidate] = []
        self._server = QTcpServer(self)
        self._server.newConnection.connect(self._on_connection)
        if not self._server.listen(QHostAddress(QHostAddress.SpecialAddress.LocalHost), 0):
            raise LinkError(f"gradscope cannot listen on 127.0.0.1: {self._server.errorString()}")

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

    def close(self) -> None:
        """Close everything; nothing more is emitted."""
        self._server.close()
        for candidate in self._candidates:
            candidate.drop()
        self._candidates.clear()
        if self._socket is not None:
            socket, self._socket = self._socket, None
            socket.readyRead.disconnect(self._on_data)
            socket.flush()
            socket.disconnectFromHost()

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def _on_connection(self) -> None:
        while (socket := self._server.nextPendingConnection()) is not None:
            candidate = _Candidate(socket, self.token, self)
            candidate.proved.connect(self._on_proved)
            self._candidates.append(candidate)

    @Slot(object, object)
    def _on_proved(self, candidate: _Candidate, frames: list[Frame]) -> None:
        if self._socket is not None:
            candidate.drop()
            return
        self._server.close()
        self._socket, self._decoder = candidate.release()
        self._socket.readyRead.connect(self._on_data)
        self.hello.emit(frames[0].message)
        for frame in frames[1:]:
            self.received.emit(frame)
        self._on_data()

    @Slot()
    def _on_data(self) -> None:
        if self._socket is None:
            return
        data = bytes(self._socket.readAll().data())
        try:
            for frame in self._decoder.feed(data):
                self.received.emit(frame)
                if self._socket is None:
                    return
        except ProtocolError as error:
            self.close()
            self.broken.emit(f"The engine has sent something that gradscope does not understand: {error}")


class _Candidate(QObject):
    """A connection that has not proved itself yet."""

    proved = Signal(object, object)

    def __init__(self, socket: QTcpSocket, token: str, parent: QObject) -> None:
        super().__init__(parent)
        self._socket = socket
        self._token = token
        self._received = 0
        self._decoder = Decoder()
        socket.readyRead.connect(self._on_data)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.drop)
        self._timer.start(int(HELLO_TIMEOUT_SECS * 1000))
        self._on_data()

    def release(self) -> tuple[QTcpSocket, Decoder]:
        """Hand the connection over."""
        self._timer.stop()
        self._socket.readyRead.disconnect(self._on_data)
        return self._socket, self._decoder

    @Slot()
    def drop(self) -> None:
        self._timer.stop()
        if self._socket.state() is not QAbstractSocket.SocketState.UnconnectedState:
            self._socket.abort()

    @Slot()
    def _on_data(self) -> None:
        data = bytes(self._socket.readAll().data())
        self._received += len(data)
        try:
            frames = list(self._decoder.feed(data)) if self._received <= _MAX_HELLO_BYTES else None
        except ProtocolError:
            frames = None
        if frames is None:
            self.drop()
        elif frames:
            message = frames[0].message
            if isinstance(message, Hello) and hmac.compare_digest(message.token.encode(), self._token.encode()):
                self.proved.emit(self, frames)
            else:
                self.drop()
