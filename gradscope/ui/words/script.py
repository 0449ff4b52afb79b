"""What there is to say of a script that runs, or has ended."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from gradscope.protocol.scripts import Script, ScriptKind
from gradscope.protocol.visible import visible

_CONTEXT = "Scripts"
_MAX_NAME = 60


def name_of(script: Script) -> str:
    """ "train.py", "pkg.train": without its folder and its arguments, shortened."""
    name = visible(script.name)
    if script.kind is not ScriptKind.MODULE:
        name = name.replace("\\", "/").rpartition("/")[2]
    return name if len(name) <= _MAX_NAME else "…" + name[-(_MAX_NAME - 1) :]


def activity(script: Script) -> str:
    """For the status bar, while no training step has begun."""
    if script.kind is ScriptKind.ATTACHED:
        text = QCoreApplication.translate(_CONTEXT, "gradscope.watch() is on in {name}; no training step has begun yet")
        return text.format(name=name_of(script))
    text = QCoreApplication.translate(_CONTEXT, "{name} is running; no training step has begun yet")
    return text.format(name=name_of(script))


def not_begun(script: Script) -> str:
    if script.kind is ScriptKind.ATTACHED:
        text = QCoreApplication.translate(_CONTEXT, "It stops at the first one")
        return f"{activity(script)}. {text}"
    text = QCoreApplication.translate(_CONTEXT, "What it prints is in the log")
    return f"{activity(script)}. {text}"


def nothing_seen(script: Script, secs: int) -> str:
    if script.kind is ScriptKind.ATTACHED:
        text = QCoreApplication.translate(
            _CONTEXT,
            "gradscope.watch() has been on in {name} for {secs} s, and nothing of a training step has been seen: no forward, "
            "no backward, no optimizer step. Training in other processes is not seen",
        )
        return text.format(name=name_of(script), secs=secs)
    text = QCoreApplication.translate(
        _CONTEXT,
        "{name} has run for {secs} s, and nothing of a training step has been seen: no forward, no backward, no optimizer "
        "step. It goes on; what it prints is in the log. Training in other processes that it starts is not seen",
    )
    return text.format(name=name_of(script), secs=secs)


def ended(exit_code: int | None) -> str:
    translate = QCoreApplication.translate
    if exit_code is None:
        return translate(_CONTEXT, "The script has ended. Its values can still be looked at. Reset starts it again")
    text = translate(
        _CONTEXT, "The script has ended: exit code {code}. Its values can still be looked at. Reset starts it again"
    )
    return text.format(code=exit_code)
