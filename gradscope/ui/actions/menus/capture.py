"""The levels of capture, as entries of the Session menu."""

from __future__ import annotations

from gradscope.protocol.capture import CaptureLevel
from gradscope.ui.actions.rows import ActionId, ActionRow, Menu
from gradscope.ui.words.capture import COSTS
from gradscope.ui.words.translation import QT_TRANSLATE_NOOP

ROWS: dict[ActionId, ActionRow] = {
    ActionId.CAPTURE_FULL: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Full"),
        tooltip=COSTS[CaptureLevel.FULL],
        menu=Menu.CAPTURE,
        level=CaptureLevel.FULL,
    ),
    ActionId.CAPTURE_LAYERS: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Chosen layers..."),
        tooltip=COSTS[CaptureLevel.LAYERS],
        menu=Menu.CAPTURE,
        level=CaptureLevel.LAYERS,
    ),
    ActionId.CAPTURE_NORMS: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Norms only"),
        tooltip=COSTS[CaptureLevel.NORMS],
        menu=Menu.CAPTURE,
        level=CaptureLevel.NORMS,
    ),
    ActionId.CAPTURE_OFF: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Off"),
        tooltip=COSTS[CaptureLevel.OFF],
        menu=Menu.CAPTURE,
        level=CaptureLevel.OFF,
    ),
}
