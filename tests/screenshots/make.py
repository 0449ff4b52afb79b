"""Makes screenshots: `python tests/screenshots/make.py [FOLDER]` those of the README, by default in resources/screenshots;
`python tests/screenshots/make.py --states FOLDER` what is hard on a window, to be looked at: little room, large letters,
one layer and many, many parameter groups, an open traceback, NaN, a file with a syntax error.

Starts the real app with a real engine under Xvfb (Debian: xvfb and what `gradscope` itself asks for), and saves what the
window shows, light and dark.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradscope.ui.window.main_window import MainWindow

SCREEN = (1440, 900)
SMALL = (1024, 700)
TIMEOUT_SECS = 120.0
_INSIDE = "GRADSCOPE_SCREENSHOTS_INSIDE"
_README, _USUAL, _SMALL, _LARGE_LETTERS = "readme", "usual", "small", "large letters"


def main() -> int:
    arguments = sys.argv[1:]
    are_states = "--states" in arguments
    folders = [argument for argument in arguments if argument != "--states"] or ["resources/screenshots"]
    folder = Path(folders[0]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    inside = os.environ.get(_INSIDE)
    if inside:
        _take(folder, inside)
        return 0
    if shutil.which("Xvfb") is None:
        print("Xvfb is missing; install it with: sudo apt-get install xvfb", file=sys.stderr)
        return 2
    codes = []
    for what in (_USUAL, _SMALL, _LARGE_LETTERS) if are_states else (_README,):
        with tempfile.TemporaryDirectory() as settings:
            codes.append(_under_xvfb(folder, settings, what))
    return max(codes)


def _under_xvfb(folder: Path, settings: str, what: str) -> int:
    read, write = os.pipe()
    screen = f"{SCREEN[0]}x{SCREEN[1]}x24"
    # Xvfb chooses a free display and writes its number into the pipe when it is ready.
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", screen], pass_fds=[write], stderr=subprocess.DEVNULL
    )
    try:
        os.close(write)
        with os.fdopen(read) as pipe:
            display = f":{pipe.readline().strip()}"
        environment = os.environ | {
            "DISPLAY": display,
            "QT_QPA_PLATFORM": "xcb",
            "XDG_CONFIG_HOME": settings,
            _INSIDE: what,
        }
        if what == _LARGE_LETTERS:
            environment["QT_FONT_DPI"] = "192"
        return subprocess.run([sys.executable, __file__, str(folder)], env=environment, check=False).returncode
    finally:
        server.terminate()
        server.wait()


class _Camera:
    """The app, driven from outside, and what it is saved as."""

    def __init__(self, folder: Path, size: tuple[int, int]) -> None:
        from gradscope.ui.app import build, make_application
        from gradscope.ui.look.settings import Setting, Settings, ThemeChoice

        self._app = make_application()
        self._folder = folder
        self._settings = Settings()
        self._settings.set(Setting.THEME, ThemeChoice.LIGHT)
        self.window: MainWindow = build(self._app, self._settings)
        scale = self.window.devicePixelRatio()
        self.window.setGeometry(0, 0, round(size[0] / scale), round(size[1] / scale))
        self.window.show()
        self.controller, self.state = self.window.controller, self.window.controller.state
        self.controller.start_engine()
        self.wait(lambda: bool(self.state.engine.torch_version))

    def wait(self, condition: Callable[[], bool] = lambda: True, settle_secs: float = 0.6) -> None:
        deadline = time.monotonic() + TIMEOUT_SECS
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError("the app did not get there")
            self._app.processEvents()
            time.sleep(0.01)
        until = time.monotonic() + settle_secs
        while time.monotonic() < until:
            self._app.processEvents()
            time.sleep(0.01)

    def is_still(self) -> bool:
        return self.state.opening is None and not self.state.position.running

    def open(self, path: Path) -> None:
        self.window.commands.open_file(str(path))
        self.wait(lambda: self.state.session is not None and self.state.session.path == str(path) and self.is_still())

    def open_script(self, path: Path, *arguments: str) -> None:
        from gradscope.protocol.scripts import Script, ScriptKind

        script = Script(kind=ScriptKind.FILE, name=path.name, arguments=arguments, folder=str(path.parent))
        self.window.commands.open_script(script)
        self.wait(lambda: self.state.awaited is None and self.state.in_script and self.is_still())

    def run(self, steps: int) -> None:
        from gradscope.protocol.phases import RunUntil

        self.controller.run(RunUntil.STEPS, steps)
        self.wait(self.is_still)

    def save(self, name: str) -> None:
        from gradscope.ui.look.settings import Setting, ThemeChoice

        for choice in (ThemeChoice.LIGHT, ThemeChoice.DARK):
            self._settings.set(Setting.THEME, choice)
            self.wait()
            self.window.grab().save(str(self._folder / f"{name}-{choice.value}.png"))
        self._settings.set(Setting.THEME, ThemeChoice.LIGHT)

    def select_a_weight(self) -> None:
        from gradscope.protocol.subjects import SubjectKind
        from gradscope.state.selection import Selection

        weights = [key for key in self.state.history.subjects(SubjectKind.GRAD) if key.name.endswith("weight")]
        self.controller.select(Selection.of_subject(weights[-1]))
        self.wait(self.is_still, 1.5)

    def close(self) -> None:
        self.window.close()
        self.controller.client.shut_down()


def _take(folder: Path, what: str) -> None:
    if what == _README:
        _take_readme(_Camera(folder, SCREEN))
    else:
        _take_states(_Camera(folder, SMALL if what == _SMALL else SCREEN), what.replace(" ", "-"))


def _take_readme(camera: _Camera) -> None:
    from gradscope.assets import sample_path
    from gradscope.protocol.phases import Verb

    path = sample_path("digits_cnn")
    assert path is not None
    camera.open(path)
    camera.run(150)
    for verb in (Verb.FORWARD, Verb.BACKWARD):
        camera.controller.go(verb)
        camera.wait(camera.is_still)
    camera.select_a_weight()
    camera.save("overview")
    camera.window.workspace.setCurrentIndex(2)
    camera.wait(camera.is_still, 1.0)
    camera.save("gradients")
    camera.window.workspace.setCurrentIndex(0)
    _take_findings(camera)
    _take_time(camera)
    _take_script(camera)
    camera.close()


def _take_findings(camera: _Camera) -> None:
    """A lesson that goes wrong, and what the monitors say of it."""
    from gradscope.assets import sample_path

    path = sample_path("dead_relu")
    assert path is not None
    camera.open(path)
    camera.run(100)
    camera.window.findings.raise_()
    camera.wait(lambda: bool(camera.state.findings.groups()), 1.5)
    camera.save("findings")
    camera.window.moments.raise_()


def _take_time(camera: _Camera) -> None:
    """The story of docs/time.md: a run that ends in Inf, its first step once more, and what becomes of it with clipping."""
    from gradscope.assets import sample_path
    from gradscope.protocol.messages import GoTo
    from gradscope.protocol.messages.edits import EditClipping
    from gradscope.protocol.phases import Verb

    path = sample_path("exploding_gradients")
    assert path is not None
    window, controller, state = camera.window, camera.controller, camera.state
    camera.open(path)
    window.timeline.raise_()
    window.inspector.raise_()
    camera.run(100)
    controller.show_step(1)
    camera.wait(camera.is_still, 1.5)
    camera.save("time-shown")
    window.commands.time.go(GoTo(step=0))
    camera.wait(lambda: camera.is_still() and state.position.step == 0)
    for verb in (Verb.FORWARD, Verb.BACKWARD):
        controller.go(verb)
        camera.wait(camera.is_still)
    window.commands.what_ifs.show()
    window.commands.what_ifs.try_steps()
    camera.wait(lambda: state.what_if.trials is not None and camera.is_still(), 1.5)
    camera.save("time-what-if")
    window.workspace.setCurrentIndex(0)
    window.commands.time.go(GoTo(step=0))
    camera.wait(lambda: camera.is_still() and state.position.step == 0)
    controller.edit(EditClipping(norm=1.0, value=None))
    camera.wait(camera.is_still)
    camera.run(60)
    camera.wait(camera.is_still, 1.5)
    camera.save("time-branch")
    window.moments.raise_()


def _take_script(camera: _Camera) -> None:
    """Somebody's own script, stopped at the end of a backward: its line, who has called it, and what is known there."""
    from gradscope.protocol.phases import Verb

    window = camera.window
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "train.py")
        shutil.copyfile(Path(__file__).parents[1] / "scripts" / "corpus" / "mnist_style.py", path)
        camera.open_script(path, "--epochs", "12")
        camera.run(150)
        for verb in (Verb.FORWARD, Verb.BACKWARD):
            camera.controller.go(verb)
            camera.wait(camera.is_still)
        window.source.show()
        window.source.raise_()
        camera.wait(camera.is_still, 1.5)
        camera.save("script")


def _take_states(camera: _Camera, prefix: str) -> None:
    from gradscope.assets import sample_path
    from tests.screenshots.recipes import write

    camera.wait()
    camera.save(f"{prefix}-start")
    sample = sample_path("digits_cnn")
    assert sample is not None
    window = camera.window
    with tempfile.TemporaryDirectory() as made:
        recipes = write(Path(made))
        camera.open(sample)
        camera.run(30)
        camera.select_a_weight()
        for tab, name in ((0, "overview"), (2, "gradients")):
            window.workspace.setCurrentIndex(tab)
            camera.wait()
            camera.save(f"{prefix}-{name}")
        window.training.raise_()
        camera.save(f"{prefix}-training")
        for panel, name in ((window.inspector, "inspector"), (window.log, "log"), (window.source, "source")):
            panel.raise_()
            camera.save(f"{prefix}-{name}")
        window.moments.raise_()
        window.layers.raise_()
        window.training.raise_()
        camera.open(recipes["tiny"])
        camera.run(5)
        camera.save(f"{prefix}-one-layer")
        camera.open(recipes["diverging"])
        camera.run(100)
        camera.save(f"{prefix}-nan")
        camera.open(recipes["groups"])
        camera.run(5)
        window.workspace.setCurrentIndex(4)
        camera.save(f"{prefix}-86-groups")
        window.inspector.raise_()
        camera.open(recipes["deep"])
        camera.run(10)
        camera.select_a_weight()
        window.workspace.setCurrentIndex(2)
        camera.save(f"{prefix}-300-layers")
        camera.open(recipes["failing"])
        window.workspace.setCurrentIndex(0)
        camera.run(30)
        camera.save(f"{prefix}-failed")
        window.failure_bar.toggle.click()
        camera.save(f"{prefix}-traceback")
        recipes["tiny"].write_text("def recipe(:\n", encoding="utf-8")
        window.commands.open_file(str(recipes["tiny"]))
        camera.wait(lambda: camera.state.unopened is not None, 1.0)
        recipes["tiny"].write_text("def recipe():\n", encoding="utf-8")
        camera.wait(settle_secs=1.0)
        camera.save(f"{prefix}-saved-again")
    _take_scripts(camera, prefix)
    camera.close()


def _take_scripts(camera: _Camera, prefix: str) -> None:
    """Scripts: right before the first step, in a backward with each panel in front, after a crash."""
    from gradscope.protocol.phases import RunUntil, Verb

    window = camera.window
    corpus = Path(__file__).parents[1] / "scripts" / "corpus"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copyfile(corpus / "mnist_style.py", Path(folder, "train.py")))
        camera.open_script(path, "--epochs", "12")
        camera.save(f"{prefix}-script-first")
        camera.run(150)
        for verb in (Verb.FORWARD, Verb.BACKWARD):
            camera.controller.go(verb)
            camera.wait(camera.is_still)
        for panel, name in (
            *((window.source, "source"), (window.findings, "findings"), (window.stops_dock, "stops")),
            *((window.console, "console"), (window.timeline, "timeline")),
        ):
            panel.show()
            panel.raise_()
            camera.wait(camera.is_still, 1.0)
            camera.save(f"{prefix}-script-{name}")
        path = Path(shutil.copyfile(corpus / "raises_in_layer.py", Path(folder, "raises.py")))
        camera.open_script(path)
        camera.controller.run(RunUntil.PAUSED)
        camera.wait(lambda: camera.state.failure is not None, 1.5)
        camera.save(f"{prefix}-script-crashed")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    sys.exit(main())
