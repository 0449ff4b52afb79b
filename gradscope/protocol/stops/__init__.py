"""The small language of stops: parsed here, for the engine that stops and for the app that checks what a person types.

Texts, trees and their evaluation over numbers that somebody else looks up. Never `eval`; no torch, no Qt.
"""
