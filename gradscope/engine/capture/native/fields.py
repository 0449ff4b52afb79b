"""Bases of what the taps read and write most: its attributes lie where the extension reaches them at once.

Without the extension they are classes as any other. `fields.h` has the same names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradscope.engine.quantities.kernel.extension import NATIVE

if TYPE_CHECKING or NATIVE is None:

    class SlotFields:
        __slots__ = ("dtype", "key", "note", "position", "record", "row", "shape")

    class CallFields:
        __slots__ = ("activation", "bytes", "gradient", "place", "plain_shape", "substep")

    class ParameterFields:
        __slots__ = ("change", "gradient", "parameter", "place", "shape")

    class RecordFields:
        __slots__ = ("_last", "own_seconds", "paused_seconds", "substep")

else:
    SlotFields, CallFields = NATIVE.SlotFields, NATIVE.CallFields
    ParameterFields, RecordFields = NATIVE.ParameterFields, NATIVE.RecordFields
