"""The entries of the View menu, in its order, and its themes."""

from __future__ import annotations

from gradscope.ui.actions.rows import ActionId, ActionRow, Menu
from gradscope.ui.look.settings import ThemeChoice
from gradscope.ui.words.translation import QT_TRANSLATE_NOOP

ROWS: dict[ActionId, ActionRow] = {
    ActionId.START_PAGE: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Start page"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Show the samples and the recent files, or the session again; it goes on"),
        menu=Menu.VIEW,
        shortcuts=("Alt+Home",),
        icon="home",
        is_toggle=True,
    ),
    ActionId.FIND_LAYER: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Find layer"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Go to the filter of the layers"),
        menu=Menu.VIEW,
        shortcuts=("Ctrl+F",),
        icon="search",
    ),
    ActionId.CONSOLE: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Console"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Evaluate Python where training stands"),
        menu=Menu.VIEW,
        shortcuts=("F12",),
        needs_session=True,
        ends_section=True,
    ),
    ActionId.RESET_LAYOUT: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Reset layout"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Put every panel back in its first place"),
        menu=Menu.VIEW,
    ),
    ActionId.THEME_SYSTEM: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "As the &system"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Light or dark, as the desktop is"),
        menu=Menu.THEME,
        choice=ThemeChoice.SYSTEM,
    ),
    ActionId.THEME_LIGHT: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Light"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Dark on light"),
        menu=Menu.THEME,
        icon="sun",
        choice=ThemeChoice.LIGHT,
    ),
    ActionId.THEME_DARK: ActionRow(
        text=QT_TRANSLATE_NOOP("Actions", "&Dark"),
        tooltip=QT_TRANSLATE_NOOP("Actions", "Light on dark"),
        menu=Menu.THEME,
        icon="moon",
        choice=ThemeChoice.DARK,
    ),
}
