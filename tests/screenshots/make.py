"""Makes the README's screenshots: `python tests/screenshots/make.py [FOLDER]`, default resources/screenshots.

Starts the real app with a real engine in a window of 1440 x 900 under Xvfb (Debian: xvfb and what `gradscope` itself asks
for), steps a sample, and saves what the window shows, light and dark.
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

SIZE = (1440, 900)
TIMEOUT_SECS = 120.0
_INSIDE = "GRADSCOPE_SCREENSHOTS_INSIDE"


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "resources/screenshots").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if os.environ.get(_INSIDE):
        _take(folder)
        return 0
    if shutil.which("Xvfb") is None:
        print("Xvfb is missing; install it with: sudo apt-get install xvfb", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as settings:
        return _under_xvfb(folder, settings)


def _under_xvfb(folder: Path, settings: str) -> int:
    read, write = os.pipe()
    screen = f"{SIZE[0]}x{SIZE[1]}x24"
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
            _INSIDE: "1",
        }
        return subprocess.run([sys.executable, __file__, str(folder)], env=environment, check=False).returncode
    finally:
        server.terminate()
        server.wait()


def _take(folder: Path) -> None:
    from gradscope.assets import sample_path
    from gradscope.protocol.phases import RunUntil, Verb
    from gradscope.protocol.subjects import SubjectKind
    from gradscope.state.selection import Selection
    from gradscope.ui.app import build, make_application
    from gradscope.ui.settings import Setting, Settings, ThemeChoice

    app = make_application()
    settings = Settings()
    settings.set(Setting.THEME, ThemeChoice.LIGHT)
    window = build(app, settings)
    window.setGeometry(0, 0, *SIZE)
    window.show()
    controller, state = window.controller, window.controller.state
    controller.start_engine()

    def wait(condition: Callable[[], bool], settle_secs: float = 0.6) -> None:
        deadline = time.monotonic() + TIMEOUT_SECS
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError("the app did not get there")
            app.processEvents()
            time.sleep(0.01)
        until = time.monotonic() + settle_secs
        while time.monotonic() < until:
            app.processEvents()
            time.sleep(0.01)

    def save(name: str) -> None:
        for choice in (ThemeChoice.LIGHT, ThemeChoice.DARK):
            settings.set(Setting.THEME, choice)
            wait(lambda: True)
            window.grab().save(str(folder / f"{name}-{choice.value}.png"))
        settings.set(Setting.THEME, ThemeChoice.LIGHT)

    def still() -> bool:
        return state.opening is None and not state.position.running

    wait(lambda: bool(state.engine.torch_version))
    path = sample_path("digits_cnn")
    assert path is not None
    window.commands.open_file(str(path))
    wait(lambda: state.session is not None and still())
    controller.run(RunUntil.STEPS, 150)
    wait(lambda: state.position.step == 150 and still())
    controller.go(Verb.FORWARD)
    wait(still)
    controller.go(Verb.BACKWARD)
    wait(still)
    weights = [key for key in state.history.subjects(SubjectKind.GRAD) if key.name.endswith("weight")]
    controller.select(Selection.of_subject(weights[-1]))
    # Over the lesson of the sample.
    window.inspector.raise_()
    wait(still, 1.5)
    save("overview")
    window.workspace.setCurrentIndex(2)
    wait(still, 1.0)
    save("gradients")
    window.close()
    controller.client.shut_down()


if __name__ == "__main__":
    sys.exit(main())
