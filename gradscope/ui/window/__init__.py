"""The window and its fixed parts, from the menu bar to the status bar.

What lies in docks, tabs and dialogs has folders of its own.
"""
