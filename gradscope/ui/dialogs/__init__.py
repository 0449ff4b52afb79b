"""Dialogs. All are opened with open(), never with a nested event loop."""
