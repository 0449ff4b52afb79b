"""Why a parameter moved as it did in one optimizer step: its delta as a sum of terms. Pure functions of copies."""
