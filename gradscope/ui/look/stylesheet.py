"""The Qt stylesheet, made from a theme. Lengths are multiples of 4 px, 2 px where a line needs it.

Widgets are styled by class, and by the object names and properties that the widgets of gradscope set:
`role` on labels and frames, `emphasised` on buttons. No font sizes here: the system's font size rules.
"""

from __future__ import annotations

from string import Template

from gradscope.assets import resources_dir
from gradscope.ui.look.colours import Theme, blend

_SHEET = Template("""
QMainWindow, QDialog { background: $window; }
QMainWindow::separator { background: $window; width: 4px; height: 4px; }
QMainWindow::separator:hover { background: $accent; }
QToolTip { background: $raised; color: $text; border: 1px solid $border; padding: 4px; }

/* ---------------------------------------------------------------- menus and bars */
QMenuBar { background: $window; padding: 2px 4px; }
QMenuBar::item { padding: 4px 8px; border-radius: 4px; background: transparent; color: $text; }
QMenuBar::item:selected { background: $selection; }
QMenuBar QToolButton { padding: 0 8px; }
QMenu { background: $surface; border: 1px solid $border; padding: 4px; }
QMenu::item { padding: 4px 24px 4px 8px; border-radius: 4px; color: $text; }
QMenu::item:selected { background: $selection; }
QMenu::item:disabled { color: $faded; background: transparent; }
QMenu::separator { height: 1px; background: $border; margin: 4px 8px; }
QMenu::icon { padding-left: 4px; }
QToolBar { background: $window; border: none; border-bottom: 1px solid $border; padding: 2px 8px; spacing: 4px; }
QToolBar::separator { background: transparent; width: 8px; }
#qt_toolbar_ext_button { padding: 0; width: 20px; image: url("$arrow_down"); qproperty-icon: none; }
QStatusBar { background: $window; border-top: 1px solid $border; color: $muted; }
QStatusBar::item { border: none; }

/* ---------------------------------------------------------------- docks and tabs */
QDockWidget { color: $text; titlebar-close-icon: none; }
#dockTitle { background: $window; border: 1px solid $border; border-bottom: none; }
#dockTitle QToolButton { padding: 2px; border-radius: 4px; border: none; background: transparent; min-height: 0; }
#dockTitle QToolButton:hover { background: $selection; }
#dockBody { background: $surface; border: 1px solid $border; }
QTabWidget::pane { background: $surface; border: 1px solid $border; top: -1px; }
QTabBar { background: transparent; qproperty-drawBase: 0; }
QTabBar::tab { background: transparent; color: $muted; padding: 4px 9px; border: none;
               border-bottom: 2px solid transparent; margin-right: 2px; }
#inspectorTabs QTabBar::tab { padding: 4px 8px; }
QTabBar::tab:hover { color: $text; background: $raised; }
QTabBar::tab:selected { color: $text; border-bottom: 2px solid $accent; }
QTabBar::tab:disabled { color: $faded; }
QTabBar QToolButton { background: $window; border: none; padding: 0; border-radius: 0; }
QTabBar:focus { outline: none; }
QTabBar::tab:selected:focus { background: $selection; }

/* ---------------------------------------------------------------- buttons and fields */
QToolButton, QPushButton { background: $raised; color: $text; border: 1px solid $border; border-radius: 4px;
                           padding: 4px 8px; }
QPushButton { padding: 4px 12px; }
QToolButton:hover, QPushButton:hover { border-color: $accent; }
QToolButton:pressed, QPushButton:pressed, QToolButton:checked { background: $selection; }
QToolButton:focus, QPushButton:focus { border-color: $accent; }
QToolButton:disabled, QPushButton:disabled { background: transparent; color: $faded; border-color: $border; }
QToolButton[emphasised="true"], QPushButton[emphasised="true"], QPushButton:default {
    background: $accent; color: $accent_text; border-color: $accent; }
QToolButton[emphasised="true"]:hover, QPushButton[emphasised="true"]:hover, QPushButton:default:hover {
    background: $accent_hover; border-color: $accent_hover; }
QToolButton[emphasised="true"]:focus, QPushButton[emphasised="true"]:focus, QPushButton:default:focus {
    border-color: $text; }
QPushButton:default:disabled { background: transparent; color: $faded; border-color: $border; }
QToolButton[flat="true"], QPushButton[flat="true"] { background: transparent; border-color: transparent; }
QToolButton[flat="true"][checkable="true"] { border-color: $border; }
QToolButton[flat="true"]:hover, QPushButton[flat="true"]:hover { background: $selection; }
QToolButton[flat="true"]:focus, QPushButton[flat="true"]:focus { border-color: $accent; }
QToolButton[compact="true"] { padding: 1px 5px; }
QToolButton[compact="true"][popupMode="2"] { padding-right: 18px; }
QToolButton[tiny="true"] { background: transparent; border: 1px solid transparent; padding: 0 3px; min-height: 0; }
QToolButton[tiny="true"]:hover { background: $selection; }
QToolButton[tiny="true"]:focus { border-color: $accent; }
QToolButton[popupMode="1"] { padding-right: 24px; }
QToolButton[popupMode="2"] { padding-right: 22px; }
QToolButton[differs="true"] { border-color: $warning; }
QToolButton::menu-indicator { image: url("$arrow_down"); width: 10px; height: 10px; right: 6px;
                              subcontrol-origin: border; subcontrol-position: center right; }
QToolButton::menu-button { border: none; border-left: 1px solid $border; width: 18px; border-radius: 0; }
QLineEdit, QSpinBox, QComboBox { background: $surface; color: $text; border: 1px solid $border; border-radius: 4px;
                                 padding: 4px; selection-background-color: $selection; selection-color: $text; }
QLineEdit:focus, QSpinBox:focus, QComboBox:focus { border-color: $accent; }
QLineEdit:disabled, QSpinBox:disabled, QComboBox:disabled { background: transparent; color: $faded; }
QLineEdit[differs="true"], QComboBox[differs="true"] { border: 1px solid $warning; }
QComboBox { padding-right: 20px; }
QComboBox::drop-down { border: none; width: 20px; }
QComboBox::down-arrow { image: url("$arrow_down"); width: 12px; height: 12px; }
QSpinBox { padding-left: 6px; padding-right: 20px; }
QSpinBox::up-button { subcontrol-origin: border; subcontrol-position: top right; border: none; width: 20px; }
QSpinBox::down-button { subcontrol-origin: border; subcontrol-position: bottom right; border: none; width: 20px; }
QSpinBox::up-arrow { image: url("$arrow_up"); width: 10px; height: 10px; }
QSpinBox::down-arrow { image: url("$arrow_down"); width: 10px; height: 10px; }
QToolButton::menu-arrow { image: url("$arrow_down"); width: 10px; height: 10px; }
QComboBox QAbstractItemView { background: $surface; border: 1px solid $border; selection-background-color: $selection;
                              selection-color: $text; outline: none; padding: 4px; }

QCheckBox::indicator, QTableView::indicator { width: 14px; height: 14px; border: 1px solid $muted; border-radius: 3px;
                                              background: $surface; }
QCheckBox::indicator:hover, QCheckBox::indicator:focus { border-color: $accent; }
QCheckBox::indicator:checked, QTableView::indicator:checked { border-color: $accent; background: $selection;
                                                              image: url("$check"); }
QCheckBox::indicator:disabled { border-color: $border; background: transparent; }
QCheckBox:disabled { color: $faded; }
QRadioButton::indicator { width: 12px; height: 12px; border: 1px solid $muted; border-radius: 7px; background: $surface; }
QRadioButton::indicator:hover, QRadioButton::indicator:focus { border-color: $accent; }
QRadioButton::indicator:checked { border: 4px solid $accent; width: 6px; height: 6px; background: $text; }
QRadioButton::indicator:disabled { border-color: $border; background: transparent; }

QDialogButtonBox { dialogbuttonbox-buttons-have-icons: 0; }

/* ---------------------------------------------------------------- lists, trees, tables, text */
QAbstractItemView { background: $surface; alternate-background-color: $raised; color: $text; border: none;
                    selection-background-color: $selection; selection-color: $text; }
QTreeView::item, QListView::item { padding: 2px 4px; }
QTableView { gridline-color: $grid; }
QTreeView:focus, QTableView:focus, QPlainTextEdit:focus { outline: none; }
QHeaderView { background: $raised; border: none; }
QHeaderView::section { background: $raised; color: $muted; border: none; border-bottom: 1px solid $border;
                       border-right: 1px solid $grid; padding: 4px; }
QTableCornerButton::section { background: $raised; border: none; border-bottom: 1px solid $border; }
QPlainTextEdit, QTextBrowser { background: $surface; color: $text; border: none; }
QScrollArea { background: transparent; border: none; }
QAbstractScrollArea::corner { background: transparent; border: none; }
QScrollBar:vertical { background: transparent; width: 12px; margin: 0; }
QScrollBar:horizontal { background: transparent; height: 12px; margin: 0; }
QScrollBar::handle { background: $scroll; border-radius: 4px; margin: 2px; }
QScrollBar::handle:vertical { min-height: 24px; }
QScrollBar::handle:horizontal { min-width: 24px; }
QScrollBar::handle:hover { background: $muted; }
QScrollBar::add-line, QScrollBar::sub-line { width: 0; height: 0; }
QScrollBar::add-page, QScrollBar::sub-page { background: transparent; }
QSplitter::handle { background: $window; }
QSplitter::handle:hover { background: $accent; }

/* ---------------------------------------------------------------- our own */
QLabel[role="muted"] { color: $muted; }
QLabel[role="good"] { color: $good; }
QLabel[role="warning"] { color: $warning; }
QLabel[role="bad"] { color: $bad; }
QLabel[role="accent"] { color: $accent; }
QFrame[role="card"] { background: $surface; border: 1px solid $border; border-radius: 8px; }
QPushButton[role="card"] { background: $surface; border: 1px solid $border; border-radius: 8px; text-align: left;
                           padding: 0; }
QPushButton[role="card"]:hover { border-color: $accent; background: $raised; }
QPushButton[role="card"]:focus { border: 2px solid $accent; }
QPushButton[role="card"]:disabled { background: $window; }
QLabel[role="badge"] { background: $selection; color: $accent; border-radius: 4px; font-weight: bold; }
QPushButton[role="link"] { color: $accent; text-align: left; padding: 4px; }
#pinList QTreeWidget { background: transparent; }
#pinList QToolButton { padding: 2px; border: none; background: transparent; min-height: 0; }
#pinList QToolButton:hover { background: $window; }
#nonFiniteSign QToolButton { color: $bad; background: transparent; border: none; border-radius: 4px; padding: 0 4px;
                             min-height: 0; }
#nonFiniteSign QToolButton:hover, #nonFiniteSign QToolButton:focus { background: $selection; }
#findingsSign, #stopSign { background: transparent; border: none; border-radius: 4px; padding: 0 4px; min-height: 0; }
#findingsSign:hover, #findingsSign:focus, #stopSign:hover, #stopSign:focus { background: $selection; }
#phaseStrip { background: $window; border-bottom: 1px solid $border; padding: 0 8px; }
#phaseStrip[earlier="true"] { background: $selection; border-left: 4px solid $accent; padding: 0 8px 0 4px; }
#codeField { border: 1px solid $border; border-radius: 4px; selection-background-color: $selection; }
#codeField:focus { border-color: $accent; }
#codeField:disabled { background: transparent; color: $faded; }
#codeNames { background: $surface; border: 1px solid $border; outline: none; }
#startPage { background: $window; }
#failureBar { background: $surface; border: 1px solid $border; border-left: 4px solid $bad; }
#failureBar[severity="warning"] { border-left-color: $warning; }
#failureBar[severity="info"] { border-left-color: $accent; }
#fileBar, #scriptBar { background: $surface; border: 1px solid $border; border-left: 4px solid $accent; }
#scriptBar[severity="warning"] { border-left-color: $warning; }
#snapshotBand { background: $selection; border-bottom: 1px solid $border; border-left: 4px solid $accent;
                padding: 0 8px; }
#failureBar QPlainTextEdit { border-top: 1px solid $border; background: $raised; }
""")


def stylesheet(theme: Theme) -> str:
    """The whole application's stylesheet."""
    icons = resources_dir() / "icons"
    colours = {name: value for name, value in vars(theme).items() if isinstance(value, str)}
    return _SHEET.substitute(
        colours,
        arrow_up=(icons / "arrow_up.svg").as_posix(),
        arrow_down=(icons / "arrow_down.svg").as_posix(),
        check=(icons / "check.svg").as_posix(),
        faded=theme.faded,
        scroll=blend(theme.muted, theme.surface, 0.45),
        accent_hover=blend(theme.accent, theme.text, 0.85),
    )
