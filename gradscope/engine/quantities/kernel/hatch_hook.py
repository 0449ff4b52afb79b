"""Build hook: puts the compiled kernel and the compiled taps into the wheel, or builds them in place for an editable install.

Without a compiler the wheel is a pure one, and gradscope does the same with Python, torch and numpy.
"""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = "gradscope/engine/quantities/kernel"
TAPS_FOLDER = "gradscope/engine/capture/native"


class KernelHook(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        folder, taps_folder = Path(self.root) / FOLDER, Path(self.root) / TAPS_FOLDER
        building = _load(folder / "building.py")
        reason = building.compile_kernel(folder)
        if reason:
            self.app.display_warning(f"gradscope is built without its C kernel: {reason}")
            return
        libraries = [f"{FOLDER}/{building.library_path(folder).name}"]
        # They call the kernel, and are nothing without it.
        reason = building.compile_taps(taps_folder)
        if reason:
            self.app.display_warning(f"gradscope is built without its compiled taps: {reason}")
        else:
            libraries.append(f"{TAPS_FOLDER}/{building.taps_path(taps_folder).name}")
        if version == "editable":
            return
        build_data["artifacts"] += libraries
        build_data["pure_python"] = False
        # One is loaded by ctypes, the other has the stable interface: they fit every Python of the platform.
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def _load(path: Path) -> Any:
    """The package itself is not installed while it is being built."""
    spec = importlib.util.spec_from_file_location("gradscope_kernel_building", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def get_build_hook() -> type[KernelHook]:
    return KernelHook
