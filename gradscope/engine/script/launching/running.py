"""A script from its first line to its last, followed as soon as it has imported torch. Imports no torch itself."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from gradscope.engine.script.launching import launch
from gradscope.engine.script.launching.ending import ScriptEnd, end_of, exits_told
from gradscope.engine.script.launching.importing import when_imported
from gradscope.engine.script.stations import Passage
from gradscope.protocol.capture import Capture
from gradscope.protocol.failure import BadInput
from gradscope.protocol.scripts import Script

if TYPE_CHECKING:
    from gradscope.engine.script.follower import Follower
    from gradscope.engine.script.following import Following
    from gradscope.engine.script.taps import Taps


class ScriptRun:
    """Of one script in this process."""

    def __init__(
        self, script: Script, make_follower: Callable[[], Follower], *, capture: Capture, budget_bytes: int
    ) -> None:
        """`make_follower` is called when the script has imported torch, or has ended without."""
        self._script, self._make_follower = script, make_follower
        self.capture, self.budget_bytes = capture, budget_bytes
        """May be changed by `make_follower`."""
        self._follower: Follower | None = None
        self._taps: Taps | None = None
        self._pid = os.getpid()
        self._call_off: Callable[[], None] = lambda: None

    def run(self) -> ScriptEnd:
        """To its end, of which the follower is told. Raises BadInput where there is nothing to run."""
        launch.check(self._script)
        self._call_off = when_imported("torch", self._begin_to_follow)
        end = ScriptEnd(0)
        with exits_told(lambda code: self._tell_end(ScriptEnd(code))):
            try:
                left_out = launch.run(self._script)
                end = ScriptEnd(0, left_out=tuple(left_out))
            except BadInput:
                raise
            except BaseException as error:
                end = end_of(error)
        if os.getpid() == self._pid:
            self._tell_end(end)
        return end

    def refuse(self, error: BadInput) -> None:
        """Tell the follower that there is nothing to run, which `run` has raised."""
        self._tell_end(ScriptEnd(2, error))

    def stop_following(self) -> None:
        """Take every tap out; what is known stays known."""
        if self._taps is not None:
            self._taps.remove()

    @property
    def errors(self) -> list[str]:
        """What has failed in following the script."""
        return [] if self._taps is None else self._taps.errors

    @property
    def following(self) -> Following | None:
        return None if self._taps is None else self._taps.following

    def _begin_to_follow(self) -> None:
        if os.getpid() != self._pid:
            return
        from gradscope.engine.script.following import Following
        from gradscope.engine.script.taps import Taps

        self._follower = self._make_follower()
        following = Following(self._script, self._follower, capture=self.capture, budget_bytes=self.budget_bytes)
        self._taps = Taps(following)
        self._taps.install()

    def _tell_end(self, end: ScriptEnd) -> None:
        self._call_off()
        taps = self._taps
        session, rest = None, Passage(stations=())
        if taps is not None:
            with contextlib.suppress(Exception):
                taps.safely(taps.hand.end)
            taps.remove()
            session = taps.following.session
            rest = Passage(stations=taps.following.journal.take(), notes=tuple(taps.following.pending_notes))
        if self._follower is None:
            self._follower = self._make_follower()
        self._follower.script_ended(session, end, rest)
