"""Everything that is drawn with pyqtgraph; nothing outside of this package imports it. App process, GUI thread.

What numbers mean is in `ui.words`, where they come from in `state`.
"""

import pyqtgraph

from gradscope.ui.widgets.guarded import guard_library

guard_library(pyqtgraph.__name__)
