"""The window. Runs in the app process, on its one GUI thread; never imports torch."""
