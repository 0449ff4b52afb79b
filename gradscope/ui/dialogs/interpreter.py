"""Is a path a Python that could run the engine? Looks at the file only; nothing is started."""

from __future__ import annotations

import os
from pathlib import Path

from PySide6.QtCore import QCoreApplication


def problem_with_interpreter(path: str) -> str | None:
    """One sentence that says why a path cannot be the engine's interpreter; None if it can ("" means our own)."""
    if not path:
        return None
    file = Path(path).expanduser()
    if not file.exists():
        return QCoreApplication.translate("Interpreter", "There is no file {path}").format(path=path)
    if file.is_dir():
        text = QCoreApplication.translate(
            "Interpreter", "{path} is a folder; expected a Python interpreter, such as {example}"
        )
        return text.format(path=path, example=file / "bin" / "python")
    if not os.access(file, os.X_OK):
        return QCoreApplication.translate(
            "Interpreter", "{path} is not executable; expected a Python interpreter"
        ).format(path=path)
    return None
