"""Opening a recipe or a script: when it is asked for, what it waits for, and what remains where it fails."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from gradscope.client.engine_client import EngineClient
from gradscope.client.file_watch import digest_of
from gradscope.protocol import messages
from gradscope.protocol.phases import Rest
from gradscope.protocol.scripts import Script, ScriptKind
from gradscope.protocol.visible import visible
from gradscope.script_kind import file_of
from gradscope.state.app_state import AppState
from gradscope.state.engine import EngineStatus, Unopened
from gradscope.state.tree import source_of
from gradscope.ui.look.settings import Setting, Settings

Request = messages.Open | messages.OpenScript


class Opening:
    """The session is opened into `state`, whatever is shown. `on_change` is called where there is something new to see.

    A script is run by an engine that is started for it, and that runs nothing else afterwards.
    """

    def __init__(
        self,
        state: AppState,
        client: EngineClient,
        settings: Settings,
        *,
        start_engine: Callable[[Script | None], None],
        on_change: Callable[[], None],
    ) -> None:
        self._state = state
        self._client = client
        self._settings = settings
        self._start_engine = start_engine
        self._on_change = on_change
        self._queued: Request | None = None
        """Waits for the engine to be ready."""
        self._tried: Unopened | None = None
        """What is being opened, as it is when it cannot be."""
        self._capture_of_first_file = ""
        self._first_file = ""

    # ------------------------------------------------------------------------------------------ public

    def capture_first_file(self, capture: str) -> None:
        """The first file that is opened, and no other, is captured at this level (as `Capture.parse` reads it)."""
        self._capture_of_first_file = capture

    def open_recipe(
        self, path: str, *, seed: int | None = None, device: str | None = None, capture: str | None = None
    ) -> None:
        """None: as in the settings."""
        request = messages.Open(
            path=path,
            seed=self._settings.get(Setting.SEED) if seed is None else seed,
            device=self._settings.get(Setting.DEVICE) if device is None else device,
            capture=self._capture(path, capture),
            budget_bytes=self._budget_bytes,
            findings=self._settings.get(Setting.FINDINGS),
            timeline_bytes=self._timeline_bytes,
        )
        self._state.log.divide(f"{path}, seed {request.seed}, {request.device}")
        self._open(request, Unopened(path=path, digest=digest_of(path)))

    def open_script(self, script: Script, *, capture: str | None = None) -> None:
        """From its beginning."""
        request = messages.OpenScript(
            script=script,
            capture=self._capture(script.name, capture),
            budget_bytes=self._budget_bytes,
            findings=self._settings.get(Setting.FINDINGS),
            timeline_bytes=self._timeline_bytes,
        )
        file = file_of(script)
        self._state.log.flush()
        self._state.log.divide(f"{visible(script.title)}, in {visible(script.folder)}")
        digest = "" if file is None else digest_of(str(file))
        self._open(request, Unopened(path=script.name if file is None else str(file), digest=digest, script=script))

    def join(self, script: Script) -> None:
        """A process that runs already has connected: it opens when it comes to a training step."""
        self._tried = None
        self._queued = messages.OpenScript(
            script=script, budget_bytes=self._budget_bytes, findings=self._settings.get(Setting.FINDINGS)
        )
        self._state.awaited = script
        self._state.log.flush()
        self._state.log.divide(f"{visible(script.title)}, gradscope.watch()")
        self._state.log.say("What this process prints appears where it was started", is_warning=False)
        self._state.set_opening(script.title)

    def go_on(self) -> None:
        """The engine is ready."""
        queued, self._queued = self._queued, None
        if queued is not None:
            self._client.request(queued, on_reply=partial(self._on_replied, self._tried))

    def abandon(self) -> None:
        """The engine is no more, or is no longer wanted: what is being opened could not be."""
        self._queued = None
        tried, self._tried = self._tried, None
        if tried is not None:
            self._state.set_unopened(tried)

    # ------------------------------------------------------------------------------------------ private

    @property
    def _budget_bytes(self) -> int:
        return int(self._settings.get(Setting.BUDGET_MB)) * 1024 * 1024

    @property
    def _timeline_bytes(self) -> int:
        return int(self._settings.get(Setting.TIMELINE_MB)) * 1024 * 1024

    def _capture(self, file: str, capture: str | None) -> str:
        if self._capture_of_first_file and self._first_file in ("", file):
            # Also when it is opened once more: it may have failed the first time.
            self._first_file = file
            capture = capture or self._capture_of_first_file
        return capture or str(self._settings.get(Setting.CAPTURE))

    def _open(self, request: Request, tried: Unopened) -> None:
        engine, script = self._state.engine, tried.script
        self._tried, self._queued = tried, request
        is_of_use = script is None and engine.script is None
        is_ready = is_of_use and engine.status is EngineStatus.READY
        session = self._state.session
        if not is_ready and (session is None or source_of(session) != _source_of(tried)):
            # What was open before goes with its engine now, and not only when there is something else to be seen. The same
            # stays to be read until it is open again, which may fail.
            self._state.leave_session()
        self._state.awaited = script
        self._state.set_opening(tried.path)
        if is_ready:
            self.go_on()
        elif not is_of_use or engine.status is not EngineStatus.STARTING:
            self._start_engine(script)
        self._on_change()

    def _on_replied(self, tried: Unopened | None, reply: object) -> None:
        if tried is not self._tried:
            # Another one is being opened meanwhile.
            return
        if isinstance(reply, messages.Failed):
            state = self._state
            state.set_opening(None)
            state.awaited = None
            self.abandon()
            if state.session is not None and state.position.rest is not Rest.EMPTY:
                state.log.divide(f"{state.session.name} goes on at step {state.position.step}")
            self._on_change()
        self._tried = None


def _source_of(tried: Unopened) -> tuple[str, str]:
    """As `state.tree.source_of` has it of a session."""
    return ("", tried.path) if tried.script is not None and tried.script.kind is ScriptKind.MODULE else (tried.path, "")
