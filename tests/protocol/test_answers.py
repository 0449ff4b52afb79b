"""Every request has replies that belong to it, and every reply a request."""

import pytest

from gradscope.protocol.answers import ANSWERS, check_answer
from gradscope.protocol.limits import Unfit
from gradscope.protocol.messages import REPLIES, REQUESTS, Failed, FetchSource, NoSource, Shutdown, SourceText


def test_every_request_has_its_replies_and_every_reply_a_request() -> None:
    """Nobody waits for an answer to Shutdown, and Failed belongs to each."""
    assert set(ANSWERS) == set(REQUESTS) - {Shutdown}
    assert {reply for replies in ANSWERS.values() for reply in replies} == set(REPLIES) - {Failed}


@pytest.mark.parametrize("reply", [SourceText(file="/b.py", text=""), NoSource(file="/b.py", reason="gone")])
def test_the_text_of_another_file_is_no_answer(reply: SourceText | NoSource) -> None:
    check_answer(FetchSource(file="/b.py"), reply)
    with pytest.raises(Unfit, match="another file"):
        check_answer(FetchSource(file="/a.py"), reply)
