"""The colours of the window: one theme for light, one for dark."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Theme:
    """One set of colours, each as "#rrggbb"."""

    name: str
    """ "light" or "dark"."""
    window: str
    """Behind everything: tool bars, tabs, gaps between panels."""
    surface: str
    """Lists, tables, plots, fields."""
    raised: str
    """What can be pressed, headers, cards."""
    border: str
    text: str
    muted: str
    """Text of second rank; legible on window, surface and raised."""
    accent: str
    accent_text: str
    """On top of the accent."""
    selection: str
    """Behind what is selected; `text` is legible on it."""
    good: str
    warning: str
    bad: str
    grid: str
    """Lines inside plots."""
    series: tuple[str, ...]
    """Line colours, from Okabe and Ito's colour-blind-safe ones, adjusted to be legible on `surface`."""

    @property
    def is_dark(self) -> bool:
        return self.name == "dark"

    @property
    def faded(self) -> str:
        """Text and icons of what cannot be used now."""
        return blend(self.muted, self.window, 0.6)


LIGHT = Theme(
    name="light",
    window="#f1f3f7",
    surface="#ffffff",
    raised="#f8f9fb",
    border="#d5dae3",
    text="#1b2130",
    muted="#566073",
    accent="#3355cc",
    accent_text="#ffffff",
    selection="#dce5ff",
    good="#1f7a3d",
    warning="#8f5a00",
    bad="#c0242f",
    grid="#e3e7ee",
    series=("#0072b2", "#c75300", "#00855f", "#a8458a", "#2b8cc4", "#946c00", "#5c4fb8", "#5f6673"),
)

DARK = Theme(
    name="dark",
    window="#12151c",
    surface="#191d26",
    raised="#222733",
    border="#323949",
    text="#e7eaf1",
    muted="#9da7ba",
    accent="#7f9fff",
    accent_text="#0c1226",
    selection="#2a3a66",
    good="#5ed38a",
    warning="#f0b849",
    bad="#ff7b7f",
    grid="#2a303d",
    series=("#56b4e9", "#f0894a", "#2fc89c", "#e393c4", "#f0e442", "#e6a21a", "#a99bff", "#b9c0cd"),
)

THEMES = {LIGHT.name: LIGHT, DARK.name: DARK}


def blend(front: str, back: str, share: float) -> str:
    """The colour between two, `share` of it the front's."""
    pairs = zip(_channels(front), _channels(back), strict=True)
    return "#" + "".join(f"{round(share * f + (1 - share) * b):02x}" for f, b in pairs)


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
