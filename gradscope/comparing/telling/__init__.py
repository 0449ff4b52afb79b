"""A comparison told: as text for a terminal, as JSON, and as one page of HTML.

Nothing is read or computed here, and nobody is asked.
"""
