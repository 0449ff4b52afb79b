"""Whether the user's code is running: only then may an interruption raise wherever it happens to be."""

from __future__ import annotations


class UserCode:
    """A context around the user's code, entered several times in each phase: a generator takes three times as long."""

    def __init__(self) -> None:
        self.is_on = False

    def __enter__(self) -> None:
        self.is_on = True

    def __exit__(self, *error: object) -> None:
        self.is_on = False
