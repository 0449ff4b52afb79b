"""Compiles the kernel, and the taps, with the machine's C compiler. The build of the package uses it, and a developer can
run it.

Standard library only: it runs in the build's own environment, where nothing of gradscope is installed.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

FLAGS = (
    "-O3",
    # Sums by several lanes. Not -ffast-math: linked with it, a library changes subnormal numbers of the whole process.
    "-fassociative-math",
    "-fno-signed-zeros",
    "-fno-trapping-math",
    "-ffinite-math-only",
    "-fno-math-errno",
    "-fPIC",
    "-shared",
)
TAPS_FLAGS = (
    "-O2",
    "-fPIC",
    "-shared",
    # The stable interface: one library for each CPython of the platform.
    "-DPy_LIMITED_API=0x030B0000",
    *(("-undefined", "dynamic_lookup") if sys.platform == "darwin" else ()),
)
TAPS_FOLDER = Path(__file__).parents[2] / "capture" / "native"
TAPS_MODULE = "gradscope.engine.capture.native._native"
KERNEL_VERSION = 6
"""Of the form of the kernel's functions: `gradscope_kernel_version`."""
TAPS_VERSION = 5
"""Of what Python and the taps know of each other: `VERSION` in native.c."""
TIMEOUT_SECS = 120
SWITCH = "GRADSCOPE_KERNEL"
_VECTORS = {256: "AVX2", 512: "AVX-512"}
"""By their bits."""


def library_path(folder: Path) -> Path:
    """Where the library of this machine's kind lies in `folder`."""
    return folder / f"_kernel-{sys.platform}-{platform.machine().lower()}.so"


def wanted_library(folder: Path) -> Path | None:
    """The library, if it was built and the environment does not say GRADSCOPE_KERNEL=off."""
    return _wanted(library_path(folder))


def taps_path(folder: Path) -> Path:
    """The same as `library_path` of the compiled taps."""
    return folder / f"_native-{sys.platform}-{platform.machine().lower()}.so"


def wanted_taps(folder: Path) -> Path | None:
    """Those, on the same condition, and where this Python can load them."""
    return _wanted(taps_path(folder)) if _has_stable_interface() else None


def _wanted(path: Path) -> Path | None:
    return path if path.is_file() and os.environ.get(SWITCH) != "off" else None


def _has_stable_interface() -> bool:
    """CPython, and not a build of it without its lock, whose objects are of another form."""
    return sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")


def active_path() -> str:
    """Which code computes summaries on the CPU, in a few words; where that is not the kernel, also why."""
    folder = Path(__file__).parent
    path = wanted_library(folder)
    if path is None:
        return _fallen_back("torch and numpy", library_path(folder))
    try:
        library = ctypes.CDLL(str(path))
        is_ours = library.gradscope_kernel_version() == KERNEL_VERSION
        bits = library.gradscope_vector_bits()
    except OSError:
        return "torch and numpy (the C kernel cannot be loaded)"
    except AttributeError:
        is_ours = False
    if not is_ours:
        # Left from an older version; it is not used.
        return "torch and numpy (the C kernel is of another version)"
    return f"C kernel, {_VECTORS[bits]}" if bits in _VECTORS else "C kernel"


def active_taps() -> str:
    """Which code the hooks of layers run, in a few words; where those are not the compiled taps, also why.

    It loads them, in a process that trains nothing.
    """
    path = wanted_taps(TAPS_FOLDER)
    if not _has_stable_interface():
        return "Python (the compiled taps need a Python with the stable interface)"
    if path is None:
        return _fallen_back("Python", taps_path(TAPS_FOLDER))
    try:
        module = load_taps(path)
    except ImportError:
        return "Python (the compiled taps cannot be loaded)"
    if module is None:
        return "Python (the compiled taps are of another version)"
    if not active_path().startswith("C kernel"):
        return "Python (the compiled taps do nothing without the C kernel)"
    return "compiled taps"


def load_taps(path: Path) -> ModuleType | None:
    """The extension in a file, not yet set up; None where it is of another version. Raises ImportError."""
    loader = importlib.machinery.ExtensionFileLoader(TAPS_MODULE, str(path))
    module = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(TAPS_MODULE, loader, origin=str(path)))
    loader.exec_module(module)
    return module if getattr(module, "VERSION", None) == TAPS_VERSION else None


def _fallen_back(to: str, path: Path) -> str:
    return f"{to} ({f'{SWITCH}=off' if path.is_file() else 'not built'})"


def gpu_path() -> str:
    """What may compute them on a CUDA device, in a word; whether it does shows there. "": torch, without more ado."""
    return "Triton" if os.environ.get(SWITCH) != "off" and importlib.util.find_spec("triton") else ""


def compiler() -> list[str] | None:
    """The command of a C compiler (the environment's CC first); None if there is none that takes our flags."""
    if sys.platform == "win32":
        # Microsoft's compiler knows neither the flags nor the attributes.
        return None
    for candidate in (os.environ.get("CC"), "cc", "gcc", "clang"):
        command = shlex.split(candidate) if candidate else []
        if command and shutil.which(command[0]):
            return command
    return None


def compile_kernel(folder: Path) -> str:
    """Compile `folder`/kernel.c beside it. Returns "" or, in a few words, why there is no library; raises nothing."""
    return _compile(folder / "kernel.c", library_path(folder), FLAGS)


def compile_taps(folder: Path) -> str:
    """The same of `folder`/native.c, which needs the headers of Python, too."""
    headers = Path(sysconfig.get_path("include"))
    if not _has_stable_interface():
        return "this Python has no stable interface"
    if not (headers / "Python.h").is_file():
        return f"{headers} has no Python.h"
    return _compile(folder / "native.c", taps_path(folder), (*TAPS_FLAGS, f"-I{headers}"))


def _compile(source: Path, target: Path, flags: Sequence[str]) -> str:
    command, folder = compiler(), source.parent
    if command is None:
        return "no C compiler was found"
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".building-") as scratch:
            product = Path(scratch) / target.name
            done = subprocess.run(
                [*command, *flags, "-o", str(product), str(source)],
                capture_output=True,
                text=True,
                timeout=TIMEOUT_SECS,
                check=False,
            )
            if done.returncode != 0:
                return f"{command[0]} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"
            # A library that is mapped into a running process must not be written over.
            product.replace(target)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{command[0]} cannot be run: {error}"
    return ""


if __name__ == "__main__":
    here = Path(__file__).parent
    reasons = compile_kernel(here), compile_taps(TAPS_FOLDER)
    for reason, built in zip(reasons, (library_path(here), taps_path(TAPS_FOLDER)), strict=True):
        print(reason or f"Built {built}")
    sys.exit(any(reasons))
