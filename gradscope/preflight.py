"""What the system must have before Qt is imported: shared libraries, and a display that can be reached.

Runs in the app process, before anything of Qt; standard library only. Qt itself would answer with a traceback
about one library at a time, or abort.

PySide6 ships Qt but not the libraries below it. The tables are the NEEDED entries (`objdump -p` prints them)
of QtCore, QtGui, QtWidgets, QtNetwork, QtSvg, QtDBus, the platform plugins for X11 and Wayland, and the GLX
integration in PySide6 6.11.3, less the C and C++ runtimes. On X11, 6.8.3 needs no others.
"""

import ctypes
import os
import platform
import re
import subprocess
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


# These need nothing that could be out of reach.
_ALWAYS_THERE = ("offscreen", "minimal", "cocoa", "windows")
# Some platforms start without a screen, and crash when they have to show a window.
_TRIAL = "import sys; from PySide6.QtGui import QGuiApplication; sys.exit(QGuiApplication([]).primaryScreen() is None)"
_TRIAL_TIMEOUT_SECS = 30.0


def problem() -> str | None:
    """One sentence that says why Qt cannot open a window here and what to do about it, or None if it can."""
    missing = missing_libraries()
    return explain(missing) if missing else missing_display() or unreachable_display()


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
    return _no_display("neither DISPLAY nor WAYLAND_DISPLAY is set")


def unreachable_display(
    *,
    environ: Mapping[str, str] = os.environ,
    system: str = sys.platform,
    reaches_x11: Callable[[], bool] = lambda: _reaches_x11(),
    reaches_wayland: Callable[[], bool] = lambda: _reaches_wayland(),
    try_qt: Callable[[], str | None] = lambda: _try_qt(),
) -> str | None:
    """One sentence if none of the platforms that Qt will try can be used, else None.

    The libraries of X11 and Wayland are asked for a connection, as Qt will ask them. What else QT_QPA_PLATFORM may name is
    left to Qt, in a process that may abort: `try_qt` returns what it has said, or None if it has started.
    """
    chosen = environ.get("QT_QPA_PLATFORM")
    if not chosen and not system.startswith("linux"):
        return None
    reasons = []
    for candidate in _candidate_platforms(environ):
        match candidate:
            case "xcb" if not reaches_x11():
                reasons.append(_unreachable("X server", "DISPLAY", environ))
            case "wayland" if not reaches_wayland():
                reasons.append(_unreachable("Wayland compositor", "WAYLAND_DISPLAY", environ))
            case "xcb" | "wayland":
                return None
            case _ if candidate in _ALWAYS_THERE:
                return None
            case _:
                said = try_qt()
                if said is None:
                    return None
                return f"Qt cannot start with QT_QPA_PLATFORM={chosen}; {_expected_platforms(said)}"
    return _no_display(" and ".join(reasons))


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


def _no_display(reason: str) -> str:
    return (
        f"There is no display to open a window on, because {reason}: start gradscope from a desktop session or through "
        "`ssh -X`, or step without a window by `gradscope run FILE --steps N`."
    )


def _unreachable(what: str, variable: str, environ: Mapping[str, str]) -> str:
    name = environ.get(variable)
    return f"the {what} of {variable}={name} cannot be reached" if name else f"{variable} is not set"


def _reaches_x11() -> bool:
    try:
        xcb = ctypes.CDLL("libxcb.so.1")
    except OSError:
        return False
    xcb.xcb_connect.restype = ctypes.c_void_p
    # Never null: a connection that has failed knows its error.
    connection = ctypes.c_void_p(xcb.xcb_connect(None, None))
    is_open = not xcb.xcb_connection_has_error(connection)
    xcb.xcb_disconnect(connection)
    return is_open


def _reaches_wayland() -> bool:
    if "WAYLAND_SOCKET" in os.environ:
        # An open connection that whoever takes it uses up.
        return True
    if not os.environ.get("XDG_RUNTIME_DIR") and not os.environ.get("WAYLAND_DISPLAY", "").startswith("/"):
        # The library would say on standard error what it misses.
        return False
    try:
        wayland = ctypes.CDLL("libwayland-client.so.0")
    except OSError:
        return False
    wayland.wl_display_connect.restype = ctypes.c_void_p
    display = ctypes.c_void_p(wayland.wl_display_connect(None))
    if display.value is None:
        return False
    wayland.wl_display_disconnect(display)
    return True


def _try_qt() -> str | None:
    """What Qt says when it cannot start in this environment; None if it can, or takes too long to say so."""
    try:
        trial = subprocess.run(
            [sys.executable, "-c", _TRIAL],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TRIAL_TIMEOUT_SECS,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return trial.stderr if trial.returncode else None


def _expected_platforms(said: str) -> str:
    available = re.search(r"Available platform plugins are: (.*?)\.?$", said, re.MULTILINE)
    return f"expected one of: {available[1]}" if available else "unset it to let Qt choose."


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
