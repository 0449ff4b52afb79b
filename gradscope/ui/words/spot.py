"""What a person points at in a plot or in a list of numbers: menus offer what can be done there."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.protocol.stops.quantities import UPDATE_RATIO, Figure, Statistic
from gradscope.protocol.subjects import SubjectKey
from gradscope.ui.words.quantities import Quantity

STATISTIC_OF = {
    Quantity.STD: Statistic.STD,
    Quantity.L2: Statistic.L2,
    Quantity.MEAN: Statistic.MEAN,
    Quantity.LARGEST: Statistic.MAX_ABS,
    Quantity.ZEROS: Statistic.ZERO_SHARE,
}
"""The update ratio is none of them."""


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A number: of a subject, or of the whole step where there is none."""

    subject: SubjectKey | None = None
    statistic: Statistic = Statistic.L2
    is_ratio: bool = False
    """The update ratio, and no statistic."""
    figure: Figure = Figure.LOSS
    """Of a step."""
    value: float | None = None
    """As it was last, or where it was pointed at; None where it is not known."""

    @property
    def quantity(self) -> str:
        """In the language of stops."""
        if self.subject is None:
            return self.figure.value
        return UPDATE_RATIO if self.is_ratio else f"{self.subject.kind.value}.{self.statistic.value}"

    @staticmethod
    def of_quantity(subject: SubjectKey, quantity: Quantity, value: float | None) -> Spot:
        """Of a plot, where shares are in percent."""
        if quantity is Quantity.ZEROS and value is not None:
            value /= 100
        statistic = STATISTIC_OF.get(quantity, Statistic.L2)
        return Spot(subject=subject, statistic=statistic, is_ratio=quantity is Quantity.RATIO, value=value)
