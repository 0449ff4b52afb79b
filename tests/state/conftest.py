"""Snapshots to make states of."""

from tests.snapshots.conftest import folder, spoiled

__all__ = ["folder", "spoiled"]
