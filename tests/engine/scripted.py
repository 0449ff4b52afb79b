"""Runs a script in this process, with the taps in, and keeps what is told of it."""

from __future__ import annotations

import gc
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.script.launching.ending import ScriptEnd
from gradscope.engine.script.launching.running import ScriptRun
from gradscope.engine.script.session import ScriptSession
from gradscope.engine.script.stations import Passage, Station
from gradscope.protocol.capture import Capture
from gradscope.protocol.phases import Moment, Phase, SubStep
from gradscope.protocol.scripts import Script, ScriptKind
from gradscope.protocol.subjects import SubjectKind

HEAD = """
import torch
from torch import nn
torch.manual_seed(0)
"""
HEAD_LINES = 4
"""A script's own first line is the one after these."""

Look = Callable[[ScriptSession, PhaseReport, Passage], None]


@dataclass
class Recorder:
    """A `Follower` that writes everything down."""

    look: Look | None = None
    is_armed: bool = False
    sessions: list[ScriptSession] = field(default_factory=list)
    phases: list[tuple[PhaseReport, Passage]] = field(default_factory=list)
    end: ScriptEnd | None = None
    rest: Passage | None = None

    def stop(self, moment: Moment) -> None:
        pass

    def session_found(self, session: ScriptSession) -> None:
        # As in a run: else the newest batch is kept for looking at.
        session.keeper.keeps_all = False
        self.sessions.append(session)

    def session_changed(self, session: ScriptSession) -> None:
        pass

    def phase_ended(self, session: ScriptSession, report: PhaseReport, passage: Passage) -> None:
        self.phases.append((report, passage))
        if self.look is not None:
            self.look(session, report, passage)

    def script_ended(self, session: ScriptSession | None, end: ScriptEnd, rest: Passage) -> None:
        self.end, self.rest = end, rest


@dataclass
class Followed:
    """A script that has ended."""

    run: ScriptRun
    recorder: Recorder
    space: dict[str, Any]
    """Its variables."""

    @property
    def session(self) -> ScriptSession:
        (session,) = self.recorder.sessions
        return session

    @property
    def order(self) -> str:
        """Of the phases: "FBS"."""
        return "".join(report.phase.value[0].upper() for report, _ in self.recorder.phases)

    @property
    def notes(self) -> list[str]:
        return [note for report, _ in self.recorder.phases for note in report.notes]

    def stations(self, kind: SubStep) -> list[Station]:
        passages = [passage for _, passage in self.recorder.phases]
        assert self.recorder.rest is not None
        return [s for passage in [*passages, self.recorder.rest] for s in passage.stations if s.kind is kind]

    def reports(self, phase: Phase) -> list[PhaseReport]:
        return [report for report, _ in self.recorder.phases if report.phase is phase]

    def seen(self, phase: Phase, kind: SubjectKind) -> set[str]:
        """Names of the subjects of a kind in all phases of a kind."""
        return {
            subject.name for report in self.reports(phase) for subject in report.subjects if subject.kind == kind.value
        }

    @property
    def names(self) -> set[str]:
        """Of the models and bare tensors that were found."""
        model = self.session.found.model
        return {*model._modules, *model._parameters}


def follow(
    folder: Path,
    text: str,
    *,
    capture: str = "full",
    look: Look | None = None,
    errors: tuple[str, ...] = (),
    recorder: Recorder | None = None,
) -> Followed:
    """Run a script to its end. It must not raise, and following it fails with these errors only."""
    path = folder / "script.py"
    path.write_text(HEAD + textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    recorder = recorder or Recorder(look)
    run = ScriptRun(
        Script(kind=ScriptKind.FILE, name=str(path), folder=str(folder)),
        lambda: recorder,
        capture=Capture.parse(capture),
        budget_bytes=1 << 24,
    )
    with as_it_was() as space:
        end = run.run()
        if end.error is not None:
            raise end.error
        space.update(vars(sys.modules["__main__"]))
    assert tuple(run.errors) == errors
    if recorder.sessions:
        assert tuple(recorder.sessions[0].observer.errors) == errors
    return Followed(run, recorder, space)


@contextmanager
def as_it_was() -> Iterator[dict[str, Any]]:
    """A script takes the place of the main module."""
    main, argv, path, folder = sys.modules["__main__"], sys.argv, list(sys.path), Path.cwd()
    try:
        yield {}
    finally:
        sys.modules["__main__"], sys.argv, sys.path[:] = main, argv, path
        os.chdir(folder)
        gc.collect()
