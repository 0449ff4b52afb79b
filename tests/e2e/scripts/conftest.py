"""Training scripts in the window: written by a test, or those of the corpus."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from gradscope.protocol.phases import Rest, Verb
from gradscope.protocol.scripts import Script, ScriptKind
from gradscope.state.engine import EngineStatus
from tests.e2e.driver import App
from tests.scripts.cases import CORPUS, Case, cases

LOOP = """
import os, sys, time
import torch
from torch import nn

{before}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        self.misbehave(x)
        return self.linear(x)

    def misbehave(self, x):
        {misbehave}

if __name__ == "__main__":
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in range({steps}):
        optimizer.zero_grad()
        loss = model(torch.randn(4, 3)).pow(2).mean()
        loss.backward()
        optimizer.step()
    {after}
"""


class ScriptApp:
    """The window, and what a person does with a script in it."""

    def __init__(self, app: App, folder: Path) -> None:
        self.app, self.folder = app, folder

    def start(self, name: str, *arguments: str, kind: ScriptKind = ScriptKind.FILE, folder: Path | None = None) -> None:
        script = Script(kind=kind, name=name, arguments=arguments, folder=str(folder or self.folder))
        self.app.window.commands.open_script(script)
        self.wait_for_begin()

    def write(self, text: str, name: str = "train.py") -> Path:
        path = self.folder / name
        path.write_text(textwrap.dedent(text).lstrip(), encoding="utf-8")
        return path

    def run_text(self, text: str, *arguments: str) -> None:
        self.start(self.write(text).name, *arguments)

    def write_loop(self, misbehave: str = "pass", *, before: str = "", after: str = "pass", steps: int = 8) -> Path:
        parts = {"misbehave": (misbehave, 8), "before": (before, 0), "after": (after, 4)}
        texts = {key: textwrap.indent(textwrap.dedent(text), " " * by).strip() for key, (text, by) in parts.items()}
        return self.write(LOOP.format(steps=steps, **texts))

    def run_loop(self, misbehave: str = "pass", *, before: str = "", after: str = "pass", steps: int = 8) -> None:
        self.start(self.write_loop(misbehave, before=before, after=after, steps=steps).name)

    def start_case(self, name: str, *arguments: str) -> None:
        """A script of the corpus; skipped where what it imports is missing."""
        case: Case = cases()[name]
        if case.missing:
            pytest.skip(f"{', '.join(case.missing)} not installed")
        kind = ScriptKind.NOTEBOOK if case.script.suffix == ".ipynb" else ScriptKind.FILE
        self.start(str(case.script), *(arguments or case.argv), kind=kind, folder=CORPUS)

    def wait_for_begin(self) -> None:
        """The first training step, or whatever has come instead of it."""
        state = self.app.state
        self.app.wait(lambda: state.awaited is None and state.opening is None)

    def wait_for_end(self) -> None:
        self.app.wait(lambda: self.app.state.position.rest is Rest.ENDED and not self.app.state.position.running)

    def press(self, verb: Verb) -> Rest:
        self.app.go(verb)
        return self.app.state.position.rest

    @property
    def log(self) -> list[str]:
        return [line.text for line in self.app.state.log.lines]

    @property
    def sentence(self) -> str:
        """What the banner says."""
        return self.app.window.failure_bar.sentence.text() if not self.app.window.failure_bar.isHidden() else ""

    @property
    def is_dead(self) -> bool:
        return self.app.state.engine.status is EngineStatus.DEAD


@pytest.fixture
def scripts(shared_app: App, tmp_path: Path) -> ScriptApp:
    return ScriptApp(shared_app, tmp_path)
