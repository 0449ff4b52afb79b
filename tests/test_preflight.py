"""The sentences a user reads instead of Qt's abort, with loaders that stand in for a system's libraries."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gradscope import preflight
from tests.patience import patient

ROOT = Path(__file__).parents[1]
DEBIAN = {"ID": "debian"}
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET", "QT_QPA_PLATFORM", "XDG_SESSION_TYPE")


def loader_without(*absent: str) -> Callable[[str], object]:
    def load(soname: str) -> object:
        if soname in absent:
            raise OSError(f"{soname}: cannot open shared object file: No such file or directory")
        return object()

    return load


def load_nothing(soname: str) -> object:
    raise OSError(f"{soname}: cannot open shared object file: No such file or directory")


def missing(environ: dict[str, str], *absent: str) -> list[str]:
    return preflight.missing_libraries(environ=environ, system="linux", load=loader_without(*absent))


def test_nothing_is_missing_where_everything_loads() -> None:
    assert missing({"DISPLAY": ":0"}) == []


def test_only_linux_is_checked() -> None:
    assert preflight.missing_libraries(environ={}, system="darwin", load=load_nothing) == []
    assert preflight.missing_libraries(environ={}, system="win32", load=load_nothing) == []


def test_a_bare_system_lacks_the_libraries_of_qt_and_of_x11() -> None:
    names = preflight.missing_libraries(environ={}, system="linux", load=load_nothing)
    assert {"libEGL.so.1", "libGL.so.1", "libxkbcommon.so.0", "libxcb-cursor.so.0"} <= set(names)
    assert len(names) == len(set(names))
    assert not any("wayland" in name for name in names)


@pytest.mark.parametrize("platform", ["offscreen", "minimal", "vnc:size=800x600"])
def test_other_platforms_need_no_x11_libraries(platform: str) -> None:
    names = missing({"QT_QPA_PLATFORM": platform}, "libxcb-cursor.so.0", "libEGL.so.1")
    assert names == ["libEGL.so.1"]


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"DISPLAY": ":0"},
        {"QT_QPA_PLATFORM": "xcb"},
        {"QT_QPA_PLATFORM": "xcb:testing"},
        {"DISPLAY": ":0", "XDG_SESSION_TYPE": "x11"},
    ],
)
def test_x11_needs_its_libraries(environ: dict[str, str]) -> None:
    assert missing(environ, "libxcb-cursor.so.0", "libwayland-client.so.0") == ["libxcb-cursor.so.0"]


@pytest.mark.parametrize("environ", [{"WAYLAND_DISPLAY": "wayland-0"}, {"QT_QPA_PLATFORM": "wayland-egl"}])
def test_wayland_needs_its_libraries(environ: dict[str, str]) -> None:
    names = missing(environ, "libxcb-cursor.so.0", "libwayland-cursor.so.0")
    assert names == ["libwayland-cursor.so.0"]


def test_one_complete_platform_is_enough_where_there_are_two() -> None:
    session = {"DISPLAY": ":0", "WAYLAND_DISPLAY": "wayland-0", "XDG_SESSION_TYPE": "wayland"}
    assert missing(session, "libxcb-cursor.so.0") == []
    assert missing(session, "libwayland-client.so.0") == []
    both = missing(session, "libwayland-client.so.0", "libxcb-cursor.so.0")
    assert both == ["libwayland-client.so.0"]


@pytest.mark.parametrize(
    ("os_release", "command"),
    [
        (DEBIAN, "sudo apt-get install libegl1 libxcb-icccm4"),
        ({"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, "sudo apt-get install libegl1 libxcb-icccm4"),
        ({"ID": "fedora"}, "sudo dnf install libglvnd-egl xcb-util-wm"),
        ({"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, "sudo dnf install libglvnd-egl xcb-util-wm"),
        ({"ID": "arch"}, "sudo pacman -S libglvnd xcb-util-wm"),
    ],
)
def test_the_sentence_ends_in_the_command_of_the_distribution(os_release: dict[str, str], command: str) -> None:
    names = ["libEGL.so.1", "libxcb-icccm.so.4"]
    sentence = preflight.explain(names, os_release=os_release, is_root=False)
    assert sentence == (
        "Qt cannot start, because system libraries that it needs are missing: "
        f"libEGL.so.1, libxcb-icccm.so.4; install them with: {command}"
    )


def test_root_needs_no_sudo() -> None:
    sentence = preflight.explain(["libEGL.so.1"], os_release=DEBIAN, is_root=True)
    assert sentence.endswith("is missing: libEGL.so.1; install it with: apt-get install libegl1")


def test_an_unknown_distribution_gets_no_command() -> None:
    sentence = preflight.explain(["libEGL.so.1"], os_release={"ID": "gentoo"}, is_root=False)
    assert sentence.endswith("libEGL.so.1; install the packages of your distribution that contain it.")


def test_a_package_that_holds_two_libraries_is_named_once() -> None:
    names = ["libglib-2.0.so.0", "libgthread-2.0.so.0"]
    assert preflight.packages(names, manager="apt") == ["libglib2.0-0"]


@pytest.mark.parametrize("manager", ["apt", "dnf", "pacman"])
def test_every_library_has_a_package(manager: str) -> None:
    everywhere = {"QT_QPA_PLATFORM": "xcb"}, {"QT_QPA_PLATFORM": "wayland"}
    for environ in everywhere:
        names = preflight.missing_libraries(environ=environ, system="linux", load=load_nothing)
        assert all(preflight.packages([name], manager=manager) for name in names)


def test_an_unknown_package_manager_is_refused() -> None:
    with pytest.raises(ValueError, match="apt, dnf or pacman, not 'brew'"):
        preflight.packages(["libEGL.so.1"], manager="brew")


def test_a_missing_display_is_one_sentence() -> None:
    sentence = preflight.missing_display(environ={}, system="linux")
    assert sentence is not None
    assert "DISPLAY" in sentence
    assert "gradscope run FILE" in sentence


@pytest.mark.parametrize("name", ["DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"])
def test_one_display_is_enough(name: str) -> None:
    assert preflight.missing_display(environ={name: "x"}, system="linux") is None
    assert preflight.missing_display(environ={name: ""}, system="linux") is not None


def unreachable(environ: dict[str, str], *, reached: tuple[str, ...] = (), said: str | None = "") -> str | None:
    return preflight.unreachable_display(
        environ=environ,
        system="linux",
        reaches_x11=lambda: "xcb" in reached,
        reaches_wayland=lambda: "wayland" in reached,
        try_qt=lambda: said,
    )


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({"DISPLAY": ":999"}, "the X server of DISPLAY=:999 cannot be reached"),
        ({"QT_QPA_PLATFORM": "xcb"}, "DISPLAY is not set"),
        ({"WAYLAND_DISPLAY": "dead"}, "the Wayland compositor of WAYLAND_DISPLAY=dead cannot be reached"),
        (
            {"DISPLAY": ":9", "WAYLAND_DISPLAY": "dead", "XDG_SESSION_TYPE": "wayland"},
            "the Wayland compositor of WAYLAND_DISPLAY=dead cannot be reached and the X server of DISPLAY=:9 cannot",
        ),
    ],
)
def test_a_display_that_cannot_be_reached_is_one_sentence(environ: dict[str, str], reason: str) -> None:
    sentence = unreachable(environ)
    assert sentence is not None and sentence.startswith(f"There is no display to open a window on, because {reason}")


@pytest.mark.parametrize(
    ("environ", "reached"),
    [
        ({"DISPLAY": ":0"}, ("xcb",)),
        ({"DISPLAY": ":0", "WAYLAND_DISPLAY": "dead"}, ("xcb",)),
        ({"DISPLAY": ":9", "WAYLAND_DISPLAY": "w"}, ("wayland",)),
        ({"QT_QPA_PLATFORM": "xcb;offscreen"}, ()),
        ({"QT_QPA_PLATFORM": "minimal:x=1"}, ()),
    ],
)
def test_one_platform_that_can_be_used_is_enough(environ: dict[str, str], reached: tuple[str, ...]) -> None:
    assert unreachable(environ, reached=reached) is None


def test_only_qt_knows_other_platforms() -> None:
    assert unreachable({"QT_QPA_PLATFORM": "vnc"}, said=None) is None
    said = "This application failed to start.\n\nAvailable platform plugins are: minimal, xcb.\n\nAborted"
    sentence = unreachable({"QT_QPA_PLATFORM": "xbc"}, said=said)
    assert sentence == "Qt cannot start with QT_QPA_PLATFORM=xbc; expected one of: minimal, xcb"
    sentence = unreachable({"QT_QPA_PLATFORM": "eglfs"}, said="Segmentation fault")
    assert sentence == "Qt cannot start with QT_QPA_PLATFORM=eglfs; unset it to let Qt choose."


def test_windows_and_macos_reach_their_display() -> None:
    assert preflight.unreachable_display(environ={}, system="darwin", reaches_x11=lambda: False) is None


REFUSED = {
    "X11": ({"DISPLAY": ":999"}, "the X server of DISPLAY=:999 cannot be reached"),
    "Wayland": ({"WAYLAND_DISPLAY": "dead"}, "the Wayland compositor of WAYLAND_DISPLAY=dead cannot be reached"),
    "no such platform": ({"QT_QPA_PLATFORM": "nonsense"}, "QT_QPA_PLATFORM=nonsense; expected one of: "),
    "no screen": ({"QT_QPA_PLATFORM": "minimalegl"}, "Qt cannot start with QT_QPA_PLATFORM=minimalegl"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="displays of Linux")
@pytest.mark.parametrize("name", REFUSED)
def test_the_app_does_not_start_without_a_display(name: str) -> None:
    """The real libraries, and the real Qt."""
    environ, reason = REFUSED[name]
    others = {key: value for key, value in os.environ.items() if key not in DISPLAYS}
    command = [sys.executable, "-m", "gradscope.cli"]
    done = subprocess.run(
        command, env={**others, **environ}, cwd=ROOT, capture_output=True, text=True, timeout=patient(60)
    )
    assert done.returncode == 2
    assert done.stderr.startswith("gradscope: ") and reason in done.stderr and done.stderr.count("\n") == 1


def test_no_display_is_no_problem_where_windows_need_none() -> None:
    assert preflight.missing_display(environ={}, system="darwin") is None
