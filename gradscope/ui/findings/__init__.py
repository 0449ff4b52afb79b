"""Findings: the list, one of them in full, what was looked at, and the sign of them in the status bar.

App process, GUI thread.
"""
