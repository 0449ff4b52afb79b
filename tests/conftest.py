"""What every test relies on: no display, one thread, none of the user's files, and markers that skip.

The environment is set while this file is imported, before anything imports Qt or torch; child processes
inherit it.
"""

import gc
import os
import shutil
import signal
import site
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from tests import patience
from tests.patience import PatientBot
from tests.torch_python import has_torch, skip_without_torch

_USER_DIRS = (
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "APPDATA",
    "LOCALAPPDATA",
)
_HOME = Path(tempfile.mkdtemp(prefix="gradscope-tests-"))


def _listen_to_ctrl_c() -> None:
    """Also where the tests were started in a shell's background, which ignores SIGINT: child processes would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _isolate_environment() -> None:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    # The machines that run the tests have few cores, and torch's threads would only wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Below HOME, child processes look for `pip install --user` packages and for their key to the X server.
    os.environ.setdefault("PYTHONUSERBASE", site.getuserbase())
    os.environ.setdefault("XAUTHORITY", str(Path("~/.Xauthority").expanduser()))
    os.environ["HOME"] = os.environ["USERPROFILE"] = str(_HOME)
    # QStandardPaths warns if this is unset, or open to others; sockets in it need a short path.
    runtime = _HOME / "run"
    runtime.mkdir(mode=0o700)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    for name in _USER_DIRS:
        os.environ[name] = str(_HOME / name.lower())


# The same examples each time, or few of them; a search for others is `HYPOTHESIS_PROFILE=search`.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("few", derandomize=True, deadline=None, max_examples=25)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

_isolate_environment()
_listen_to_ctrl_c()
skip_without_torch()


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(patience)


def pytest_unconfigure() -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    _skip(items, marker="xvfb", unless=lambda: shutil.which("Xvfb") is not None, reason="Xvfb is not installed")
    _skip(items, marker="cuda", unless=_has_cuda, reason="there is no NVIDIA GPU that torch can use")


def _skip(items: list[pytest.Item], *, marker: str, unless: Callable[[], bool], reason: str) -> None:
    marked = [item for item in items if item.get_closest_marker(marker)]
    if marked and not unless():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))


def _has_cuda() -> bool:
    if not has_torch():
        return False
    import torch

    return torch.cuda.is_available()


@pytest.fixture
def qtbot(qapp: object, request: pytest.FixtureRequest) -> PatientBot:
    """pytest-qt's, with the patience of all tests."""
    return PatientBot(request)


@pytest.fixture(autouse=True)
def garbage_between_tests() -> None:
    """As in the app (ui/upkeep/collector.py): no widget is destroyed by the collector in the middle of a Qt call.

    What the test before has left goes here and not at its end, when pytest still holds its fixtures. Windows that pile up
    are styled anew with every style sheet, each in its turn.
    """
    _destroy_what_is_to_be_deleted()
    gc.collect(1)
    gc.disable()


def _destroy_what_is_to_be_deleted() -> None:
    """Outside of an event loop Qt puts off what was given to deleteLater()."""
    core = sys.modules.get("PySide6.QtCore")
    if core is not None and core.QCoreApplication.instance() is not None:
        core.QCoreApplication.sendPostedEvents(None, core.QEvent.Type.DeferredDelete.value)


@pytest.fixture(autouse=True)
def user_dirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings, caches and data of this test alone; returns the folder that holds them all."""
    root = tmp_path / "user"
    for name in _USER_DIRS:
        monkeypatch.setenv(name, str(root / name.lower()))
    return root
