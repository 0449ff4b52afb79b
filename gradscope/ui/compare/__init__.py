"""The Compare tab: what is shown against a snapshot, subject by subject.

Reading and comparing have no place in here: `ui.actions.comparer` asks for them.
"""
