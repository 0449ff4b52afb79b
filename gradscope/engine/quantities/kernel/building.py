"""Compiles the kernel with the machine's C compiler. The build of the package uses it, and a developer can run it.

Standard library only: it runs in the build's own environment, where nothing of gradscope is installed.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

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
TIMEOUT_SECS = 120
SWITCH = "GRADSCOPE_KERNEL"
_VECTORS = {256: "AVX2", 512: "AVX-512"}
"""By their bits."""


def library_path(folder: Path) -> Path:
    """Where the library of this machine's kind lies in `folder`."""
    return folder / f"_kernel-{sys.platform}-{platform.machine().lower()}.so"


def wanted_library(folder: Path) -> Path | None:
    """The library, if it was built and the environment does not say GRADSCOPE_KERNEL=off."""
    path = library_path(folder)
    return path if path.is_file() and os.environ.get(SWITCH) != "off" else None


def active_path() -> str:
    """Which code computes summaries on the CPU, in a few words."""
    path = wanted_library(Path(__file__).parent)
    if path is None:
        return "torch and numpy"
    try:
        library = ctypes.CDLL(str(path))
    except OSError:
        return "torch and numpy"
    if not hasattr(library, "gradscope_vector_bits"):
        # Left from an older version; it is not used.
        return "torch and numpy"
    bits = library.gradscope_vector_bits()
    return f"C kernel, {_VECTORS[bits]}" if bits in _VECTORS else "C kernel"


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
    command = compiler()
    if command is None:
        return "no C compiler was found"
    target = library_path(folder)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".building-") as scratch:
            product = Path(scratch) / target.name
            done = subprocess.run(
                [*command, *FLAGS, "-o", str(product), str(folder / "kernel.c")],
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
    reason = compile_kernel(Path(__file__).parent)
    print(reason or f"Built {library_path(Path(__file__).parent)}")
    sys.exit(bool(reason))
