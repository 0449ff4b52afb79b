"""What was tried beside the training, and what a pinned batch has come to, as the app knows it.

No message is sent from here, and nothing is drawn.
"""
