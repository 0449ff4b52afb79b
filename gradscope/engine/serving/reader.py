"""The thread that takes in what the app says, whatever the main thread does. When the app is gone, so is its engine."""

from __future__ import annotations

import _thread
import signal
import socket
import threading
from collections.abc import Callable
from typing import Protocol

from gradscope.protocol.codec import Decoder, Frame, ProtocolError, Unreadable

_CONNECTION_BROKEN = "its connection to the app was closed or replaced within its own process"
_CANNOT_READ = "it cannot read any more what the app says; something that it uses was replaced or has failed"
_CANNOT_WRITE = "it cannot tell the app anything any more; something that it uses was replaced or has failed"


class Parting(Protocol):
    """What becomes of this process without an app. `LastWords` ends it."""

    def end(self, sentence: str, error: BaseException | None = None) -> None:
        """The connection is lost, or useless. In any thread."""

    def leave(self) -> None:
        """The app has asked for the end, and is gone."""


class Reader:
    """Reads frames from a connection and hands each to `take`, in this thread."""

    def __init__(
        self,
        connection: socket.socket,
        decoder: Decoder,
        parting: Parting,
        *,
        take: Callable[[Frame], None],
        is_over: Callable[[], bool],
    ) -> None:
        """`is_over`: the engine was asked to end. A request that cannot be read is a frame whose message is the error."""
        self._connection, self._decoder, self._parting = connection, decoder, parting
        self._take, self._is_over = take, is_over

    def start(self) -> None:
        threading.Thread(target=self._read, name="gradscope-reader", daemon=True).start()

    def note_write_failed(self, error: BaseException) -> None:
        """In the thread that writes."""
        if self._is_over() or isinstance(error, ConnectionError):
            # The reader has heard of it as well.
            return
        self._parting.end(_CONNECTION_BROKEN if isinstance(error, OSError) else _CANNOT_WRITE, error)

    def _read(self) -> None:
        """When the app is gone, so is our reason to be. Not sys.exit: the main thread may be busy for hours."""
        end = self._parting.end
        try:
            while data := self._connection.recv(1 << 20):
                self._take_in(data)
        except ConnectionError as error:
            end("the connection to the app is lost", error)
        except OSError as error:
            end(_CONNECTION_BROKEN, error)
        except ProtocolError as error:
            end("the connection to the app has failed", error)
        except BaseException as error:
            end(_CANNOT_READ, error)
        else:
            if self._is_over():
                self._parting.leave()
            end("the connection to the app was closed")

    def _take_in(self, data: bytes) -> None:
        """A request that cannot be read is answered like the others, in its turn; those behind it are none the worse."""
        while True:
            try:
                for frame in self._decoder.feed(data):
                    self._take(frame)
                return
            except Unreadable as error:
                self._take(Frame(error.number, error))
                data = b""


def wake_main_thread() -> None:
    """A real signal also wakes a system call that waits; Windows has none for a thread."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main(signal.SIGINT)
