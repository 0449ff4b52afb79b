"""What the shell's tests need beyond `fakes`: a controller that notes what it was asked, and times of layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PySide6.QtCore import QObject, Signal

from gradscope.protocol import messages
from gradscope.protocol.capture import Capture
from gradscope.protocol.messages import DeviceInfo, Place
from gradscope.protocol.messages.edits import Choices, Edit
from gradscope.protocol.parts import Contents, Part
from gradscope.protocol.phases import Phase, Rest, RunUntil, SubStep, Verb
from gradscope.protocol.scripts import Script
from gradscope.state.engine import EngineState, EngineStatus
from gradscope.ui.look.settings import Settings
from tests.ui.fakes import FakeController, FakeTraining

DEVICES = (DeviceInfo(name="cpu", label="CPU"), DeviceInfo(name="cuda:0", label="cuda:0: A card"))


class FakeClient(QObject):
    was_shut_down = False

    def shut_down(self) -> None:
        self.was_shut_down = True


ATTACHED = (Part.PLOTS, Part.HISTORY)


class ShellController(FakeController):
    """Notes in `asked` what it was asked to do."""

    export_progressed = Signal(object)

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.settings = Settings(folder / "settings.ini", self)
        self.client = FakeClient(self)
        self.asked: list[tuple[object, ...]] = []
        self.exports: list[tuple[messages.Attachment, ...]] = []
        self.choices: Choices | None = None
        self.edit_replies: list[Callable[[object], None] | None] = []
        self.checkpoint_replies: list[Callable[[object], None]] = []
        self.holds_exports = False
        """An export is answered by the test, with `reply_to_export`; otherwise at once."""
        self.reply_to_export: Callable[[object], None] = lambda reply: None
        self.reading_progress: tuple[str, float] | None = None
        self.set_engine(EngineStatus.READY)

    def go_traced(self) -> None:
        self.asked.append(("go_traced",))

    def cancel_snapshot(self) -> None:
        self.asked.append(("cancel_snapshot",))

    def set_engine(self, status: EngineStatus, text: str = "") -> None:
        engine = EngineState(
            status=status, text=text, torch_version="2.13.0", executable="/opt/env/bin/python", devices=DEVICES
        )
        self.state.set_engine(engine)
        self.flush()

    def start(self, training: FakeTraining, *, steps: int = 0) -> ShellController:
        """Open a session that has made some steps."""
        self.play(training.opened())
        self.play(with_places(training.steps(steps)))
        return self

    def rest_at(self, rest: Rest, *, running: bool = False) -> None:
        position = replace(self.state.position, rest=rest, running=running, moment=None)
        self.state.apply(messages.Moved(position=position))
        self.flush()

    # ------------------------------------------------------------------------------------------ the interface

    def shut_down(self) -> None:
        self.client.shut_down()

    def open_snapshot(self, path: str) -> None:
        self.asked.append(("open snapshot", path))

    def close_snapshot(self) -> None:
        self.asked.append(("close snapshot",))

    def open_recipe(self, path: str, *, seed: int | None = None, device: str | None = None) -> None:
        self.asked.append(("open", path))

    def open_script(self, script: Script, *, capture: str | None = None) -> None:
        self.asked.append(("open script", script))

    def set_capture(self, capture: Capture) -> None:
        self.asked.append(("capture", str(capture)))

    def go(self, verb: Verb) -> None:
        self.asked.append(("go", verb))

    def go_next(self) -> None:
        self.go(self.state.next_verb)

    def run(self, until: RunUntil, steps: int = 1) -> None:
        self.asked.append(("run", until, steps))

    def run_to(self, place: str) -> None:
        self.asked.append(("run to", place))

    def pause(self) -> None:
        self.asked.append(("pause",))

    def ask_where(self) -> None:
        self.asked.append(("where",))

    def interrupt(self) -> None:
        self.asked.append(("interrupt",))

    def open_again(self) -> None:
        self.asked.append(("open again",))

    def reset(self) -> None:
        self.asked.append(("reset",))

    def end_engine(self) -> None:
        self.asked.append(("end_engine",))

    def restart_engine(self) -> None:
        self.asked.append(("restart",))

    def edit(self, edit: Edit, on_reply: Callable[[object], None] | None = None) -> None:
        self.asked.append(("edit", edit))
        self.edit_replies.append(on_reply)

    def checkpoint(self, request: object, on_reply: Callable[[object], None]) -> None:
        self.asked.append(("checkpoint", request))
        self.checkpoint_replies.append(on_reply)

    def undo_edit(self) -> None:
        self.asked.append(("undo edit",))

    def list_choices(self, on_reply: Callable[[object], None]) -> None:
        if self.choices is not None:
            on_reply(self.choices)

    def dismiss_nonfinite(self) -> None:
        self.state.dismiss_nonfinite()
        self.flush()

    def dismiss_failure(self) -> None:
        self.state.dismiss_failure()
        self.flush()

    def measure_snapshot(self, on_reply: Callable[[object], None]) -> None:
        parts = tuple(messages.PartSize(part=part, size_bytes=1024) for part in Part if part not in ATTACHED)
        on_reply(messages.SnapshotSizes(parts=parts, always_bytes=512))

    def export_snapshot(
        self, path: str, parts: Contents, attachments: Sequence[messages.Attachment], on_reply: Callable[[object], None]
    ) -> None:
        self.asked.append(("export", path, parts))
        self.exports.append(tuple(attachments))
        self.reply_to_export = on_reply
        if not self.holds_exports:
            on_reply(messages.Exported(path=path, files=("manifest.json",), size_bytes=2048))

    def cancel_export(self) -> None:
        self.asked.append(("cancel export",))


def with_places(stream: Iterator[object]) -> Iterator[object]:
    """The stream with what ran added to its reports: sub-steps, calls and gradients, in the order of their ends."""
    numbers: dict[Place, int] = {}
    for message in stream:
        if not isinstance(message, messages.Report):
            yield message
            continue
        places = _PLACES[message.phase]
        new = [place for place in places if place not in numbers]
        if new:
            yield messages.Places(first=len(numbers), rows=tuple(new))
            numbers.update({place: len(numbers) + i for i, place in enumerate(new)})
        yield replace(
            message,
            places=np.array([numbers[place] for place in places], dtype=np.int64),
            times=_times(message.phase, len(places)),
        )


def _times(phase: Phase, count: int) -> np.ndarray:
    times = np.full((count, 3), np.nan)
    times[:, 0] = np.arange(count) * 1e-3
    if phase is Phase.FORWARD:
        times[:, 1] = 1e-3
        times[1:-2, 2] = 2048
        # The model itself was entered before its layers, and left after them.
        times[-2, :2] = 0.5e-3, 4e-3
    return times


_PLACES = {
    Phase.FORWARD: [
        Place(SubStep.BATCH, "", 0, "", ""),
        Place(SubStep.FORWARD, "net.0", 0, "call", "(32, 16)"),
        Place(SubStep.FORWARD, "net.1", 0, "call", "(32, 16)"),
        Place(SubStep.FORWARD, "net.2", 0, "call", "(32, 10)"),
        Place(SubStep.FORWARD, "", 0, "call", "(32, 10)"),
        Place(SubStep.LOSS, "", 0, "", ""),
    ],
    Phase.BACKWARD: [
        Place(SubStep.BACKWARD, "net.2.weight", 0, "gradient", "(10, 16)"),
        Place(SubStep.BACKWARD, "net.0.weight", 0, "gradient", "(16, 8)"),
    ],
    Phase.STEP: [Place(SubStep.STEP, "", 0, "", ""), Place(SubStep.SCHEDULE, "", 0, "", "")],
}
FORWARD_PLACES = len(_PLACES[Phase.FORWARD])
