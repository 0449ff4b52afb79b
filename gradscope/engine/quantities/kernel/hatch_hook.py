"""Build hook: puts the compiled kernel into the wheel, or builds it in place for an editable install.

Without a compiler the wheel is a pure one, and gradscope computes the same numbers with torch and numpy.
"""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = "gradscope/engine/quantities/kernel"


class KernelHook(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        folder = Path(self.root) / FOLDER
        building = _load(folder / "building.py")
        reason = building.compile_kernel(folder)
        if reason:
            self.app.display_warning(f"gradscope is built without its C kernel: {reason}")
            return
        if version == "editable":
            return
        library = building.library_path(folder)
        build_data["artifacts"].append(f"{FOLDER}/{library.name}")
        build_data["pure_python"] = False
        # It is loaded by ctypes, so it fits every Python of the platform.
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
