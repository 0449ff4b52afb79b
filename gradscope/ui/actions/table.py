"""The table of actions. Menus, tool bar, shortcuts and the list of shortcuts are all made from it."""

from __future__ import annotations

from gradscope.ui.actions.menus import capture, edit, file, help, inside, layer, session, time, view
from gradscope.ui.actions.rows import ActionId, ActionRow

TABLE: dict[ActionId, ActionRow] = {
    **file.ROWS,
    **edit.ROWS,
    **session.ROWS,
    **inside.ROWS,
    **capture.ROWS,
    **time.ROWS,
    **layer.ROWS,
    **view.ROWS,
    **help.ROWS,
}
