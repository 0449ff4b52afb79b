"""Runs a script and stops it wherever it can be stopped: `python tests/scripts/stopping.py --jsonl OUT SCRIPT ARGS`.

At every end of a phase, and in many layers, everything that can be looked at is looked at, as a person might in the window:
values, an explanation, a report of what there is so far. What the script prints, and the parameters that it comes to, have to
be the same.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, TextIO

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from gradscope.engine.headless.script import finish
from gradscope.engine.script.launching.launch import forget_own_path
from gradscope.engine.script.launching.running import ScriptRun
from gradscope.protocol.capture import FULL
from gradscope.script_kind import script_of

EVERY = 7
"""In how many moments inside a phase it stops once."""
MOST = 24
"""Of the subjects of a kind."""


class Looker:
    """A `Follower` that looks at everything."""

    is_armed = True

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self.stops = self.looked = self._moments = 0
        self.session: Any = None

    def stop(self, moment: object) -> None:
        self._moments += 1
        if self._moments % EVERY == 0 and self.session is not None:
            self.stops += 1
            self.session.partial_report()
            self._look()

    def session_found(self, session: Any) -> None:
        self.session = session
        session.initial_parameters()

    def session_changed(self, session: Any) -> None: ...

    def phase_ended(self, session: Any, report: Any, passage: Any) -> None:
        self.stops += 1
        from gradscope.engine.reports.lines import line_of
        from gradscope.engine.script.reporting import more_of

        self._out.write(line_of(report, more_of(report.phase, passage)) + "\n")
        assert len(report.subjects) == len(report)
        self._look()
        name = next(iter(session.observer.tensors()), None)
        if name is not None:
            session.explain(name)

    def script_ended(self, session: Any, end: Any, rest: Any) -> None:
        from gradscope.engine.reports.lines import end_line
        from gradscope.engine.script.reporting import stations_of

        errors = [] if session is None else session.observer.errors
        assert not errors, errors
        self._out.write(end_line({"exit_code": end.code, "stations": stations_of(rest.stations)}) + "\n")
        self._out.flush()
        print(f"gradscope: stopped {self.stops} times, looked at {self.looked} tensors", file=sys.stderr)

    def _look(self) -> None:
        import torch

        from gradscope.engine.book.values import ValuesUnavailable
        from gradscope.protocol.subjects import SubjectKind

        with torch.no_grad():
            for kind in SubjectKind:
                for key in self.session.known_subjects(kind)[:MOST]:
                    try:
                        float(self.session.values(key).detach().double().sum())
                    except ValuesUnavailable:
                        continue
                    self.looked += 1


def main() -> int:
    assert sys.argv[1] == "--jsonl"
    # Of several processes that torchrun starts, the first one writes.
    name = sys.argv[2] if os.environ.get("RANK", "0") == "0" else os.devnull
    out, given = Path(name).open("w", encoding="utf-8"), sys.argv[3:]  # noqa: SIM115
    is_module = given[0] == "-m"
    script = script_of(given[is_module], given[1 + is_module :], folder="", is_module=is_module)
    if len(sys.path) > 1:
        forget_own_path()
    run = ScriptRun(script, lambda: Looker(out), capture=FULL, budget_bytes=2**28)
    end = run.run()
    for text in run.errors:
        print(text, file=sys.stderr)
    return finish(end)


if __name__ == "__main__":
    sys.exit(main())
