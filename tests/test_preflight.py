"""The sentences a user reads instead of Qt's abort, with loaders that stand in for a system's libraries."""

from collections.abc import Callable

import pytest

from gradscope import preflight

DEBIAN = {"ID": "debian"}


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


def test_no_display_is_no_problem_where_windows_need_none() -> None:
    assert preflight.missing_display(environ={}, system="darwin") is None
