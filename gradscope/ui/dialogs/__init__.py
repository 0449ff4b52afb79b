"""Dialogs. All are opened with open(), never with a nested event loop.

None is waited for, and none changes anything by itself: what was chosen is handed on.
"""
