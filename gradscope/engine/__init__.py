"""The engine: owns torch and the user's code. Runs in a child process of the app, or inside a script or notebook.

Imports nothing beyond the standard library, numpy, torch, safetensors and gradscope.protocol; never Qt.
"""
