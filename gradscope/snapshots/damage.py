"""What is wrong with a file of a snapshot, before it is known which file of which snapshot it is."""

from __future__ import annotations


class Damaged(Exception):
    """The text completes the sentence "FILE is damaged: ..."."""
