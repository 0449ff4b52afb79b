"""A connection that has not proved itself yet. App process, GUI thread."""

from __future__ import annotations

import hmac

from PySide6.QtCore import QObject, QTimer, Signal, Slot
from PySide6.QtNetwork import QAbstractSocket, QTcpSocket

from gradscope.protocol.codec import Decoder, Frame, ProtocolError
from gradscope.protocol.messages import Hello

HELLO_TIMEOUT_SECS = 10.0
_MAX_HELLO_BYTES = 4096


class Candidate(QObject):
    """Proves itself by a Hello with the token as its first frame; on anything else, or silence, it is dropped."""

    proved = Signal(object)
    """The candidate itself."""
    dropped = Signal(object)

    def __init__(self, socket: QTcpSocket, token: str, parent: QObject) -> None:
        super().__init__(parent)
        self.frames: list[Frame] = []
        """What it has sent, the Hello first."""
        self._socket = socket
        # What is beyond a Hello stays with the sender.
        self._socket.setReadBufferSize(_MAX_HELLO_BYTES + 1)
        self._token = token
        self._received = 0
        self._decoder = Decoder()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.drop)

    # ------------------------------------------------------------------------------------------ public

    def begin(self) -> None:
        """Listen to it, when the signals are connected."""
        self._socket.readyRead.connect(self._on_data)
        self._socket.disconnected.connect(self.drop)
        self._timer.start(int(HELLO_TIMEOUT_SECS * 1000))
        self._on_data()

    def release(self) -> tuple[QTcpSocket, Decoder]:
        """Hand the connection over."""
        self._stop_listening()
        return self._socket, self._decoder

    @Slot()
    def drop(self) -> None:
        """Close the connection."""
        self._stop_listening()
        if self._socket.state() is not QAbstractSocket.SocketState.UnconnectedState:
            self._socket.abort()
        self._socket.deleteLater()
        self.dropped.emit(self)

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def _on_data(self) -> None:
        data = bytes(self._socket.readAll().data())
        self._received += len(data)
        try:
            if self._received > _MAX_HELLO_BYTES:
                raise ProtocolError("A Hello is shorter than that")
            self.frames += self._decoder.feed(data)
        except ProtocolError:
            self.drop()
            return
        if self.frames:
            if self._is_the_engine(self.frames[0].message):
                self.proved.emit(self)
            else:
                self.drop()

    # ------------------------------------------------------------------------------------------ private

    def _is_the_engine(self, message: object) -> bool:
        # JSON can carry half a surrogate pair, which plain UTF-8 cannot: a stranger's token may be anything.
        return isinstance(message, Hello) and hmac.compare_digest(
            message.token.encode(errors="surrogatepass"), self._token.encode()
        )

    def _stop_listening(self) -> None:
        if self._timer.isActive():
            self._timer.stop()
            self._socket.readyRead.disconnect(self._on_data)
            self._socket.disconnected.disconnect(self.drop)
