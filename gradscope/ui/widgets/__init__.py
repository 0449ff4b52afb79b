"""Widgets, and rules for widgets, that know nothing of gradscope: no session, no history, no engine."""
