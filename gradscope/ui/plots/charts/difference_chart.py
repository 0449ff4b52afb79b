"""A tensor's slice minus the same slice in the snapshot that is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QWidget

from gradscope.protocol.messages import FetchDifferencePicture
from gradscope.state.app_state import AppState
from gradscope.state.records.newest import Latest
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.charts.picture_chart import PictureChart

if TYPE_CHECKING:
    from gradscope.ui.actions.comparer import Comparer
    from gradscope.ui.actions.controller import Controller


class DifferenceChart(PictureChart):
    def __init__(
        self, controller: Controller, themes: ThemeManager, comparer: Comparer, *, parent: QWidget | None = None
    ) -> None:
        super().__init__(
            controller,
            themes,
            title=self.tr("Difference"),
            explanation=self.tr(
                "What is shown (A) minus the snapshot that it is compared with (B): orange where A is larger, blue where B "
                "is, the background where they are the same, red where only one of them is a number. Where a pixel "
                "takes several elements, it shows the largest difference among them."
            ),
            parent=parent,
        )
        self._comparer = comparer

    def look_at(self, latest: Latest, token: object | None) -> None:
        super().look_at(latest, token and (token, self._comparer.path))

    def request(self, latest: Latest) -> FetchDifferencePicture:
        return FetchDifferencePicture(path=self._comparer.path, subject=latest.row.key, index=self.index)

    def draw(self, state: AppState) -> str:
        if self.picture is not None and not self.picture.values.any():
            return self.tr("A and B are the same here")
        return super().draw(state)

    def pixel_text(self, block: tuple[int, int]) -> str:
        return self.tr("a pixel is the largest difference of {rows} × {columns}").format(
            rows=block[0], columns=block[1]
        )

    def area_text(self) -> str:
        return self.tr("Rows {top} to {bottom}, columns {left} to {right}: largest difference {value}")
