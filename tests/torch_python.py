"""The tests on a Python without torch: importing torch skips the test that does it, or its whole file.

Only where torch is not installed, so that a skip hides nothing where it is. What can be done in another process is still
done: `GRADSCOPE_TEST_ENGINE` names an interpreter with torch, for the engine of the app and to write snapshots to read.
"""

import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec

import pytest

ENGINE_VARIABLE = "GRADSCOPE_TEST_ENGINE"


class _NoTorch:
    """A finder of modules (`sys.meta_path`) that is asked for torch, and skips whoever asks."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        if name == "torch":
            pytest.skip("needs torch, which is not installed in this Python", allow_module_level=True)
        return None


def skip_without_torch() -> None:
    """From now on importing torch skips, if this Python has none."""
    if importlib.util.find_spec("torch") is None:
        sys.meta_path.insert(0, _NoTorch)


def has_torch() -> bool:
    return _NoTorch not in sys.meta_path


def engine_python() -> str:
    """An interpreter with torch: this one, or the one that the environment names; skips if there is neither."""
    python = sys.executable if has_torch() else os.environ.get(ENGINE_VARIABLE)
    if not python:
        pytest.skip(
            f"needs an engine: torch is not installed in this Python, and {ENGINE_VARIABLE} names none that has it"
        )
    return python
