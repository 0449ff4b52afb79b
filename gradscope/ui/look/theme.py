"""Colours, icons and style of the window, light and dark. App process, GUI thread."""

from __future__ import annotations

from functools import cache

from PySide6.QtCore import QByteArray, QObject, QRectF, Qt, Signal, Slot
from PySide6.QtGui import QColor, QIcon, QPainter, QPalette, QPixmap
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QApplication, QStyleFactory

from gradscope.assets import resources_dir
from gradscope.ui.look.colours import DARK, LIGHT, THEMES, Theme
from gradscope.ui.look.settings import Setting, Settings, ThemeChoice
from gradscope.ui.look.stylesheet import stylesheet

_ICON_SIZES = (16, 20, 24, 32, 48, 64, 96)
_COLOUR_IN_FILE = b"#000000"


class ThemeManager(QObject):
    """The theme of now: the setting's, or the system's where the setting leaves it open."""

    changed = Signal(object)
    """The new Theme."""

    def __init__(self, settings: Settings, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self._app: QApplication | None = None
        self.theme = LIGHT

    def apply(self, app: QApplication) -> None:
        """Style the application, and keep it styled when the setting or the system changes."""
        self._app = app
        app.setStyle(QStyleFactory.create("Fusion"))
        self._follow_choice()
        app.styleHints().colorSchemeChanged.connect(self._on_colour_scheme_changed)
        self._settings.changed.connect(self._on_setting_changed)

    @Slot(Qt.ColorScheme)
    def _on_colour_scheme_changed(self, _scheme: Qt.ColorScheme) -> None:
        self._restyle()

    @Slot(str)
    def _on_setting_changed(self, key: str) -> None:
        if key == Setting.THEME:
            self._follow_choice()

    def _follow_choice(self) -> None:
        assert self._app is not None
        choice: ThemeChoice = self._settings.get(Setting.THEME)
        hints = self._app.styleHints()
        match choice:
            case ThemeChoice.LIGHT:
                hints.setColorScheme(Qt.ColorScheme.Light)
            case ThemeChoice.DARK:
                hints.setColorScheme(Qt.ColorScheme.Dark)
            case ThemeChoice.SYSTEM:
                hints.unsetColorScheme()
        self._restyle()

    def _restyle(self) -> None:
        assert self._app is not None
        choice: ThemeChoice = self._settings.get(Setting.THEME)
        if choice is ThemeChoice.SYSTEM:
            # Qt says Unknown on desktops that have no such wish; those are light.
            is_dark = self._app.styleHints().colorScheme() is Qt.ColorScheme.Dark
            theme = DARK if is_dark else LIGHT
        else:
            theme = THEMES[choice.value]
        if theme is self.theme and self._app.styleSheet():
            return
        self.theme = theme
        self._app.setPalette(palette(theme))
        self._app.setStyleSheet(stylesheet(theme))
        self.changed.emit(theme)


def palette(theme: Theme) -> QPalette:
    """The theme as Qt's own palette, for everything that no stylesheet rule names."""
    role = QPalette.ColorRole
    colours = {
        role.Window: theme.window,
        role.WindowText: theme.text,
        role.Base: theme.surface,
        role.AlternateBase: theme.raised,
        role.Text: theme.text,
        role.PlaceholderText: theme.muted,
        role.Button: theme.raised,
        role.ButtonText: theme.text,
        role.BrightText: theme.bad,
        role.ToolTipBase: theme.raised,
        role.ToolTipText: theme.text,
        role.Highlight: theme.selection,
        role.HighlightedText: theme.text,
        role.Accent: theme.accent,
        role.Link: theme.accent,
        role.LinkVisited: theme.accent,
        role.Light: theme.raised,
        role.Midlight: theme.raised,
        role.Mid: theme.border,
        role.Dark: theme.border,
        role.Shadow: theme.border,
    }
    result = QPalette()
    for colour_role, colour in colours.items():
        result.setColor(colour_role, QColor(colour))
    for colour_role in (role.WindowText, role.Text, role.ButtonText, role.HighlightedText):
        result.setColor(QPalette.ColorGroup.Disabled, colour_role, QColor(theme.faded))
    return result


@cache
def icon(name: str, theme: Theme, *, colour: str | None = None) -> QIcon:
    """An icon from resources/icons/NAME.svg, in the theme's text colour or the one given."""
    result = QIcon()
    colours = {
        QIcon.Mode.Normal: colour or theme.text,
        # Otherwise Qt mixes the colour of the selection into it.
        QIcon.Mode.Selected: colour or theme.text,
        QIcon.Mode.Disabled: theme.faded,
    }
    for mode, wanted in colours.items():
        for pixmap in _drawn(name, wanted):
            result.addPixmap(pixmap, mode)
    return result


@cache
def _drawn(name: str, colour: str) -> tuple[QPixmap, ...]:
    """The icon in each size. That takes a millisecond, which would be half of the time that a window takes to make."""
    drawing = (resources_dir() / "icons" / f"{name}.svg").read_bytes()
    renderer = QSvgRenderer(QByteArray(drawing.replace(_COLOUR_IN_FILE, colour.encode())))
    pixmaps = []
    for size in _ICON_SIZES:
        pixmap = QPixmap(size, size)
        pixmap.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixmap)
        renderer.render(painter, QRectF(0, 0, size, size))
        painter.end()
        pixmaps.append(pixmap)
    return tuple(pixmaps)
