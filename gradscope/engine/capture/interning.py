"""Tables that grow: each different row has a number, so that reports can speak in numbers."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

Row = TypeVar("Row", bound=Hashable)


class Table(Generic[Row]):
    """Rows in the order in which they were first seen."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._numbers: dict[Row, int] = {}

    def number(self, row: Row) -> int:
        number = self._numbers.get(row)
        if number is None:
            number = self._numbers[row] = len(self.rows)
            self.rows.append(row)
        return number
