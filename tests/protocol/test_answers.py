"""Every request has replies that belong to it, and every reply a request."""

from gradscope.protocol.answers import ANSWERS
from gradscope.protocol.messages import REPLIES, REQUESTS, Failed, Shutdown


def test_every_request_has_its_replies_and_every_reply_a_request() -> None:
    """Nobody waits for an answer to Shutdown, and Failed belongs to each."""
    assert set(ANSWERS) == set(REQUESTS) - {Shutdown}
    assert {reply for replies in ANSWERS.values() for reply in replies} == set(REPLIES) - {Failed}
