"""How long the window keeps a person waiting with a large model: `python tests/benchmarks/large_model.py [--modules 3000]`.

Measured from outside, as a window manager does: the real app is asked by `_NET_WM_PING` again and again whether it is there,
while keys are pressed in it. A gap is the time from one question to its answer. Needs Xvfb, openbox, xdotool, and
python-xlib (`python -m pip install python-xlib`). Linux only.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from Xlib import X, display, error
from Xlib.protocol import event

ROOT = Path(__file__).resolve().parents[2]
LONG_SECS = 0.05
SETTLE_SECS = 5.0
"""At its start the window is made anew, and forgets what it was asked."""
RECIPE = """
import torch
from torch import nn
from gradscope import Recipe


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Linear(4, 4)
        self.act = nn.Tanh()

    def forward(self, x):
        return x + 0.01 * self.act(self.scale(x))


def recipe():
    torch.manual_seed(0)
    model = nn.Sequential(*[Block() for _ in range({blocks})])
    x = torch.randn(64, 4)
    return Recipe(
        model=model, dataset=torch.utils.data.TensorDataset(x, x), loss=nn.MSELoss(), batch_size=8,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.01), name="{name}",
    )
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--modules", type=int, default=3000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of Run")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="the code that is run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, screen() as name:
        # Two windows of each title: the small model shows when the window is ready for the large one.
        recipes = [
            write(Path(folder), blocks, title) for blocks, title in ((2, "Small"), (options.modules // 3, "Large"))
        ]
        with app(options.checkout, recipes[0], name, folder) as press:
            measure(press, display.Display(name), recipes[1], options.seconds)
    return 0


def write(folder: Path, blocks: int, title: str) -> Path:
    path = folder / f"{title.lower()}.py"
    path.write_text(RECIPE.format(blocks=blocks, name=title), encoding="utf-8")
    return path


def measure(press: Press, server: display.Display, large: Path, seconds: float) -> None:
    find(server, "Small")
    time.sleep(SETTLE_SECS)
    window = find(server, "Small")
    pings = Pings(server, window)
    pings.during(2.0)
    print("| | longest gap | gaps over 50 ms | in all |\n|---|---|---|---|", flush=True)

    def row(label: str, act: Callable[[], None], secs: float, until: Callable[[], bool] = lambda: False) -> None:
        pings.gaps.clear()
        act()
        pings.during(secs, until)
        long = [gap for gap in pings.gaps if gap > LONG_SECS]
        print(f"| {label} | {1000 * max(pings.gaps):.0f} ms | {len(long)} | {1000 * sum(long):.0f} ms |", flush=True)

    def open_large() -> None:
        press("ctrl+o")
        pings.during(1.5)
        press.text(str(large))
        pings.during(1.5)
        pings.gaps.clear()
        press("Return")

    row("opening", open_large, 120.0, lambda: "Large" in title_of(window))
    row("after it", lambda: None, 4.0)
    row("Forward", lambda: press("F5"), 3.0)
    row("Backward", lambda: press("F6"), 3.0)
    row("Step", lambda: press("F7"), 3.0)
    row("another tab", lambda: press("ctrl+Tab"), 2.0)
    row("the next", lambda: press("ctrl+Tab"), 2.0)
    press("ctrl+f")
    pings.during(0.5)
    for letter in "sca":
        row(f"filter letter {letter}", lambda letter=letter: press(letter), 1.5)  # type: ignore[misc]
    press("ctrl+a", "BackSpace")
    pings.during(2.0)
    press("Tab", "Tab")
    row("End", lambda: press("End"), 1.5)
    row("Home", lambda: press("Home"), 1.5)
    row(f"Run for {seconds:.0f} s", lambda: press("F9"), seconds)


class Pings:
    """Asks a window whether it is there, as soon as it has answered the time before."""

    def __init__(self, server: display.Display, window: Any) -> None:
        self.gaps: list[float] = []
        self._server, self._window = server, window
        self._root = server.screen().root
        # Qt sends its answers to the root for those who select one of these.
        self._root.change_attributes(event_mask=X.SubstructureNotifyMask | X.StructureNotifyMask)
        self._protocols, self._ping = (server.intern_atom(name) for name in ("WM_PROTOCOLS", "_NET_WM_PING"))
        self._number = 0

    def during(self, secs: float, until: Callable[[], bool] = lambda: False) -> None:
        """For so long, or until something is so; what is not answered then is waited for."""
        end = time.monotonic() + secs
        while time.monotonic() < end and not until():
            self._number += 1
            asked = time.monotonic()
            data = (32, [self._ping, self._number, self._window.id, 0, 0])
            message = event.ClientMessage(window=self._window, client_type=self._protocols, data=data)
            self._window.send_event(message, event_mask=0)
            self._server.flush()
            while not self._is_answered():
                time.sleep(0.001)
                if time.monotonic() - asked > 120:
                    raise SystemExit("The window has not answered for two minutes.")
            self.gaps.append(time.monotonic() - asked)
            time.sleep(0.002)

    def _is_answered(self) -> bool:
        while self._server.pending_events():
            answer = self._server.next_event()
            # The high bit: it was sent by a program.
            is_ours = answer.type & 0x7F == X.ClientMessage and answer.client_type == self._protocols
            if is_ours and answer.data[1][0] == self._ping and answer.data[1][1] == self._number:
                return True
        return False


def title_of(window: Any) -> str:
    name = window.get_full_text_property(window.display.get_atom("_NET_WM_NAME"))
    return str(name or "")


def find(server: display.Display, title: str) -> Any:
    """The window with such a title, once it is there."""

    def below(window: Any) -> Iterator[Any]:
        try:
            children = window.query_tree().children
        except error.BadWindow:
            return
        for child in children:
            yield child
            yield from below(child)

    end = time.monotonic() + 60
    while time.monotonic() < end:
        for window in below(server.screen().root):
            try:
                is_shown = window.get_attributes().map_state == X.IsViewable
                if is_shown and title_of(window).startswith(title) and window.get_wm_protocols():
                    return window
            except error.BadWindow:
                continue
        time.sleep(0.2)
    raise SystemExit(f"No window shows {title} after a minute.")


@dataclass
class Press:
    """Keys, as a person would press them."""

    screen: str
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))

    def __call__(self, *keys: str) -> None:
        self._xdotool("key", *keys)

    def text(self, text: str) -> None:
        self._xdotool("type", "--delay", "5", text)

    def _xdotool(self, *arguments: str) -> None:
        subprocess.run(["xdotool", *arguments], env={**self.environment, "DISPLAY": self.screen}, check=True)


@contextmanager
def screen() -> Iterator[str]:
    """An X server of 1440x900 with a window manager."""
    for tool in ("Xvfb", "openbox", "xdotool"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is needed, and is not installed.")
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1440x900x24", "-nolisten", "tcp"],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    with os.fdopen(reading) as number:
        name = f":{number.readline().strip()}"
    manager = subprocess.Popen(["openbox"], env={**os.environ, "DISPLAY": name}, stderr=subprocess.DEVNULL)
    try:
        yield name
    finally:
        for process in (manager, server):
            process.terminate()
            process.wait()


@contextmanager
def app(checkout: Path, recipe: Path, name: str, folder: str) -> Iterator[Press]:
    environment = {**os.environ, "DISPLAY": name, "QT_QPA_PLATFORM": "xcb", "PYTHONPATH": str(checkout)}
    environment |= {"XDG_CONFIG_HOME": folder, "XDG_DATA_HOME": folder, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "gradscope.cli", str(recipe)], cwd=folder, env=environment)
    try:
        yield Press(name)
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
