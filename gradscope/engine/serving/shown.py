"""What a server shows: the session of a recipe, or that of a script."""

from __future__ import annotations

from gradscope.engine.script.session import ScriptSession
from gradscope.engine.session import Session

Shown = Session | ScriptSession
