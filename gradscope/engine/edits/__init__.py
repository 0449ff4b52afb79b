"""Edits between two phases of a session: each is applied whole or not at all, and has an exact inverse."""
