"""A snapshot in the place of an engine: what is asked of a session's values is answered from its files. Never waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from gradscope.client.background import Background
from gradscope.protocol.codec import ProtocolError
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages import (
    Differences,
    Failed,
    FetchDifferencePicture,
    FetchDifferences,
    FetchHistogram,
    FetchPage,
    FetchPicture,
    Histogram,
    Page,
    Picture,
    Unavailable,
)
from gradscope.protocol.phases import Position
from gradscope.snapshots.against import OtherSnapshots, difference, difference_picture, our_values
from gradscope.snapshots.format.reading import GivenUp, Reading
from gradscope.snapshots.looking import look, plane_of
from gradscope.snapshots.reader import open_snapshot
from gradscope.snapshots.snapshot import Snapshot, ValuesMissing
from gradscope.state.app_state import AppState
from gradscope.state.reopened import state_of

Request = FetchPage | FetchPicture | FetchHistogram | FetchDifferences | FetchDifferencePicture
Answer = Page | Picture | Histogram | Differences | Unavailable | Failed


@dataclass(frozen=True, kw_only=True)
class Reopened:
    """A snapshot that has been read, and the state that shows it."""

    snapshot: Snapshot
    state: AppState


def reopen(path: str, reading: Reading) -> Reopened | BadInput | None:
    """Read a snapshot; None if it was given up.

    BadInput, one sentence, is returned rather than raised: in a thread nobody would catch it.
    """
    try:
        snapshot = open_snapshot(path, reading)
        return Reopened(snapshot=snapshot, state=state_of(snapshot))
    except BadInput as error:
        return error
    except ProtocolError as error:
        return BadInput(f"{path} is damaged: {error}")
    except GivenUp:
        return None


class SnapshotSource:
    """Answers `fetch` as an EngineClient answers the same requests."""

    def __init__(self, snapshot: Snapshot, background: Background) -> None:
        self._snapshot = snapshot
        self._background = background
        self._others = OtherSnapshots(snapshot.files.reading)

    def close(self) -> None:
        """Nobody waits for its answers any more: what is being read is broken off."""
        self._snapshot.files.reading.give_up()

    def fetch(self, request: Request, on_reply: Callable[[Any], None]) -> None:
        self._background.run(partial(self._answer, request), on_reply)

    def _answer(self, request: Request) -> Answer | None:
        """In the other thread. None: it was given up."""
        try:
            return self._found(request)
        except GivenUp:
            return None

    def _found(self, request: Request) -> Answer:
        if not isinstance(request, (FetchDifferences, FetchDifferencePicture)):
            return look(self._snapshot, request)
        try:
            other = self._others.open(request.path)
        except BadInput as error:
            return Failed(failure=error.failure, position=Position())
        if isinstance(request, FetchDifferences):
            ours = our_values(self._snapshot)
            return Differences(items=tuple(difference(key, ours, other) for key in request.subjects))
        return self._difference_picture(request, other)

    def _difference_picture(self, request: FetchDifferencePicture, other: Snapshot) -> Picture | Unavailable:
        try:
            info = self._snapshot.need_info(request.subject)
            plane, _ = plane_of(self._snapshot, info, request)
        except (ValuesMissing, BadInput) as reason:
            return Unavailable(subject=request.subject, reason=str(reason))
        return difference_picture(request, info.shape, plane, other)
