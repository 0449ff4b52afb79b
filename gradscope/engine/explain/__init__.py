"""Why a parameter moved as it did in one optimizer step: its delta as a sum of terms. Pure functions of copies.

No session, no hooks, no modules: what is not copied is not asked for.
"""
