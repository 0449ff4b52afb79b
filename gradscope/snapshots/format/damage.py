"""What is wrong with a file of a snapshot, before it is known which file of which snapshot it is."""

from __future__ import annotations


class Damaged(Exception):
    """The text completes the sentence "FILE is damaged: ..."."""


def in_bytes(size: int) -> str:
    """ "1 byte", "12 bytes"."""
    return f"{size} byte" if size == 1 else f"{size} bytes"
