"""Widgets, and rules for widgets, that every part of the window can use.

They know nothing of gradscope: no session, no history, no engine.
"""
