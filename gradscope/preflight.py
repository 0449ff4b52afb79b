"""What the system must have before Qt is imported: shared libraries and a display.

Runs in the app process, before anything of Qt; standard library only. Qt itself would answer with a traceback
about one library at a time, or abort.

PySide6 ships Qt but not the libraries below it. The tables are the NEEDED entries (`objdump -p` prints them)
of QtCore, QtGui, QtWidgets, QtNetwork, QtSvg, QtDBus, the platform plugins for X11 and Wayland, and the GLX
integration in PySide6 6.11.3, less the C and C++ runtimes. On X11, 6.8.3 needs no others.
"""

import ctypes
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple


class _Library(NamedTuple):
    """A shared library, and the package that brings it on each family of distributions."""

    soname: str
    apt: str
    dnf: str
    pacman: str


_QT = (
    _Library("libEGL.so.1", "libegl1", "libglvnd-egl", "libglvnd"),
    _Library("libGL.so.1", "libgl1", "libglvnd-glx", "libglvnd"),
    _Library("libX11.so.6", "libx11-6", "libX11", "libx11"),
    _Library("libbrotlidec.so.1", "libbrotli1", "libbrotli", "brotli"),
    _Library("libdbus-1.so.3", "libdbus-1-3", "dbus-libs", "dbus"),
    _Library("libfontconfig.so.1", "libfontconfig1", "fontconfig", "fontconfig"),
    _Library("libfreetype.so.6", "libfreetype6", "freetype", "freetype2"),
    _Library("libglib-2.0.so.0", "libglib2.0-0", "glib2", "glib2"),
    _Library("libgssapi_krb5.so.2", "libgssapi-krb5-2", "krb5-libs", "krb5"),
    _Library("libgthread-2.0.so.0", "libglib2.0-0", "glib2", "glib2"),
    _Library("libxkbcommon.so.0", "libxkbcommon0", "libxkbcommon", "libxkbcommon"),
    _Library("libz.so.1", "zlib1g", "zlib", "zlib"),
    _Library("libzstd.so.1", "libzstd1", "libzstd", "zstd"),
)
_XCB = (
    _Library("libX11-xcb.so.1", "libx11-xcb1", "libX11-xcb", "libx11"),
    _Library("libxcb.so.1", "libxcb1", "libxcb", "libxcb"),
    _Library("libxcb-cursor.so.0", "libxcb-cursor0", "xcb-util-cursor", "xcb-util-cursor"),
    _Library("libxcb-glx.so.0", "libxcb-glx0", "libxcb", "libxcb"),
    _Library("libxcb-icccm.so.4", "libxcb-icccm4", "xcb-util-wm", "xcb-util-wm"),
    _Library("libxcb-image.so.0", "libxcb-image0", "xcb-util-image", "xcb-util-image"),
    _Library("libxcb-keysyms.so.1", "libxcb-keysyms1", "xcb-util-keysyms", "xcb-util-keysyms"),
    _Library("libxcb-randr.so.0", "libxcb-randr0", "libxcb", "libxcb"),
    _Library("libxcb-render.so.0", "libxcb-render0", "libxcb", "libxcb"),
    _Library("libxcb-render-util.so.0", "libxcb-render-util0", "xcb-util-renderutil", "xcb-util-renderutil"),
    _Library("libxcb-shape.so.0", "libxcb-shape0", "libxcb", "libxcb"),
    _Library("libxcb-shm.so.0", "libxcb-shm0", "libxcb", "libxcb"),
    _Library("libxcb-sync.so.1", "libxcb-sync1", "libxcb", "libxcb"),
    _Library("libxcb-util.so.1", "libxcb-util1", "xcb-util", "xcb-util"),
    _Library("libxcb-xfixes.so.0", "libxcb-xfixes0", "libxcb", "libxcb"),
    _Library("libxcb-xkb.so.1", "libxcb-xkb1", "libxcb", "libxcb"),
    _Library("libxkbcommon-x11.so.0", "libxkbcommon-x11-0", "libxkbcommon-x11", "libxkbcommon-x11"),
)
_WAYLAND = (
    _Library("libwayland-client.so.0", "libwayland-client0", "libwayland-client", "wayland"),
    _Library("libwayland-cursor.so.0", "libwayland-cursor0", "libwayland-cursor", "wayland"),
)
_BY_PLATFORM = {"xcb": _XCB, "wayland": _WAYLAND}
_BY_SONAME = {library.soname: library for library in (*_QT, *_XCB, *_WAYLAND)}

_INSTALL_COMMANDS = {"apt": "apt-get install", "dnf": "dnf install", "pacman": "pacman -S"}
_MANAGER_OF_DISTRIBUTION = {
    "debian": "apt",
    "ubuntu": "apt",
    "fedora": "dnf",
    "rhel": "dnf",
    "centos": "dnf",
    "arch": "pacman",
}


def problem() -> str | None:
    """One sentence that says why Qt cannot open a window here and what to do about it, or None if it can."""
    missing = missing_libraries()
    return explain(missing) if missing else missing_display()


def missing_libraries(
    *,
    environ: Mapping[str, str] = os.environ,
    system: str = sys.platform,
    load: Callable[[str], object] = ctypes.CDLL,
) -> list[str]:
    """The shared libraries (as `libEGL.so.1`) that Qt needs and that this system lacks; none but on Linux.

    The libraries of the X11 plugin count where Qt will use X11, those of the Wayland plugin where it will use
    Wayland. If it may use either, as in a Wayland session that offers X11 too, one complete set is enough.
    """
    if not system.startswith("linux"):
        return []
    lacking = [_lacking(_BY_PLATFORM.get(candidate, ()), load=load) for candidate in _candidate_platforms(environ)]
    of_platform = [] if [] in lacking else lacking[0]
    return [*_lacking(_QT, load=load), *of_platform]


def missing_display(*, environ: Mapping[str, str] = os.environ, system: str = sys.platform) -> str | None:
    """One sentence if there is no display to open a window on, else None."""
    if not system.startswith("linux") or any(
        environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    ):
        return None
    return (
        "There is no display to open a window on, because neither DISPLAY nor WAYLAND_DISPLAY is set: start "
        "gradscope from a desktop session or through `ssh -X`, or step without a window by "
        "`gradscope run FILE --steps N`."
    )


def explain(missing: Iterable[str], *, os_release: Mapping[str, str] | None = None, is_root: bool | None = None) -> str:
    """One sentence that names the `missing` libraries and the command that installs them.

    Args:
        missing: library names, as `missing_libraries` returns them.
        os_release: the fields of /etc/os-release; read from the system if None.
        is_root: whether the command needs no `sudo`; found out if None.
    """
    names = list(missing)
    what = "a system library that it needs is" if len(names) == 1 else "system libraries that it needs are"
    sentence = f"Qt cannot start, because {what} missing: {', '.join(names)}"
    pronoun = "it" if len(names) == 1 else "them"
    manager = _package_manager(_read_os_release() if os_release is None else os_release)
    if manager is None:
        return f"{sentence}; install the packages of your distribution that contain {pronoun}."
    sudo = "" if (_is_root() if is_root is None else is_root) else "sudo "
    command = " ".join([f"{sudo}{_INSTALL_COMMANDS[manager]}", *packages(names, manager=manager)])
    return f"{sentence}; install {pronoun} with: {command}"


def packages(missing: Iterable[str], *, manager: str) -> list[str]:
    """The packages that contain the `missing` libraries, sorted; `manager` is "apt", "dnf" or "pacman"."""
    libraries = [_BY_SONAME[soname] for soname in missing]
    match manager:
        case "apt":
            names = {library.apt for library in libraries}
        case "dnf":
            names = {library.dnf for library in libraries}
        case "pacman":
            names = {library.pacman for library in libraries}
        case _:
            raise ValueError(f"manager must be apt, dnf or pacman, not {manager!r}")
    return sorted(names)


def _lacking(libraries: Iterable[_Library], *, load: Callable[[str], object]) -> list[str]:
    lacking = []
    for library in libraries:
        try:
            load(library.soname)
        except OSError:
            lacking.append(library.soname)
    return lacking


def _candidate_platforms(environ: Mapping[str, str]) -> list[str]:
    """The platform plugins that Qt will try, best first, by the rules of QGuiApplication on Unix."""
    chosen = environ.get("QT_QPA_PLATFORM")
    if chosen:
        # "wayland;xcb" is a list, "xcb:option=value" has arguments, "wayland-egl" is Wayland too.
        return [entry.partition(":")[0].removesuffix("-egl") for entry in chosen.split(";")]
    wayland_session = environ.get("XDG_SESSION_TYPE") == "wayland"
    candidates = ["xcb"] if environ.get("DISPLAY") else []
    if environ.get("WAYLAND_DISPLAY") or wayland_session:
        candidates.insert(0 if wayland_session else len(candidates), "wayland")
    return candidates or ["xcb"]


def _package_manager(os_release: Mapping[str, str]) -> str | None:
    distributions = [os_release.get("ID", ""), *os_release.get("ID_LIKE", "").split()]
    managers = (_MANAGER_OF_DISTRIBUTION.get(distribution) for distribution in distributions)
    return next((manager for manager in managers if manager), None)


def _read_os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _is_root() -> bool:
    return sys.platform != "win32" and os.geteuid() == 0
