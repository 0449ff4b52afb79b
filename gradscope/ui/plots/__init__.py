"""Everything that is drawn with pyqtgraph; nothing outside of this package imports it. App process, GUI thread."""
