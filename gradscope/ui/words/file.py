"""What there is to say of a recipe's file that has been saved since it was opened, or since it could not be."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QCoreApplication

from gradscope.protocol.phases import Rest
from gradscope.protocol.visible import visible
from gradscope.state.app_state import AppState


def what_has_changed(state: AppState, path: str) -> str:
    """That the file has changed, what is lost where it is opened again, and what is not where training goes on with it."""
    translate, name = QCoreApplication.translate, visible(Path(path).name)
    if state.unopened is not None:
        text = translate("FileBar", "{name} has changed since it could not be opened.").format(name=name)
    else:
        text = translate("FileBar", "{name} has changed since it was opened.").format(name=name)
    if state.session is None or state.position.rest is Rest.EMPTY:
        return text
    if state.in_script:
        lost = translate("FileBar", "Opening it again ends the script, and starts it from its beginning")
    elif state.position.running:
        lost = translate("FileBar", "Opening it again ends what runs, and goes back to step 0")
    elif state.position.step:
        lost = translate(
            "FileBar", "Opening it again goes back to step 0: save a checkpoint to keep the {count} steps so far"
        ).format(count=state.position.step)
        if state.unopened is None:
            kept = translate("FileBar", "Going on with it keeps them")
            lost = f"{lost}. {kept}"
    else:
        return text
    return f"{text} {lost}"
