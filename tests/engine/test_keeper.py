"""What is said of values that are not there: that a run did not keep them, that they went, or that there were none."""

import torch

from gradscope.engine.capture.keeper import Keeper
from gradscope.protocol.subjects import SubjectKey, SubjectKind

K = SubjectKind
ONE, TWO = SubjectKey(K.ACTIVATION, "one"), SubjectKey(K.ACTIVATION, "two")


def test_a_pass_of_a_run_is_told_as_such_also_when_the_run_is_over() -> None:
    keeper = Keeper()
    keeper.watch([TWO])
    keeper.keeps_all = False
    keeper.forget(K.ACTIVATION)
    for key in (ONE, TWO):
        keeper.keep(key, torch.ones(3))
    # The next pass is to keep everything, but the newest did not.
    keeper.keeps_all = True
    assert keeper.get(ONE) is None and keeper.get(TWO) is not None
    assert "A run keeps only the values of what was selected or pinned" in keeper.why_not(ONE)
    assert "press Forward" in keeper.why_not(ONE) and "pin" in keeper.why_not(ONE)


def test_values_of_an_earlier_pass_are_gone() -> None:
    keeper = Keeper()
    keeper.forget(K.ACTIVATION)
    keeper.keep(ONE, torch.ones(3))
    keeper.forget(K.ACTIVATION)
    assert "went when a newer pass began" in keeper.why_not(ONE)
    assert "Nothing was captured" in keeper.why_not(TWO)
    keeper.keep(ONE, torch.ones(3))
    assert keeper.get(ONE) is not None
