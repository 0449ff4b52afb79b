"""Which checkpoints go where memory is short: dense near now, sparse behind."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

_SLACK = 0.05
"""Of the limit, that is made free at once: otherwise somebody would have to go in every step."""


def order_of_going(steps: Sequence[int], now: int) -> list[int]:
    """Places in `steps` (ascending, of one way) in the order in which they go. Each time the one goes whose neighbours are
    the nearest to each other, for its distance from `now`; the first one and the last one stay."""
    if len(steps) < 3:
        return []
    before = [i - 1 for i in range(len(steps))]
    after = [i + 1 for i in range(len(steps))]

    def gap(i: int) -> float:
        return (steps[after[i]] - steps[before[i]]) / (abs(now - steps[i]) + 1)

    heap = [(gap(i), i) for i in range(1, len(steps) - 1)]
    heapq.heapify(heap)
    gone: list[int] = []
    is_gone = [False] * len(steps)
    known = {i: width for width, i in heap}
    while heap:
        width, i = heapq.heappop(heap)
        if is_gone[i] or known[i] != width:
            continue
        is_gone[i] = True
        gone.append(i)
        left, right = before[i], after[i]
        after[left], before[right] = right, left
        for neighbour in (left, right):
            if 0 < neighbour < len(steps) - 1:
                known[neighbour] = gap(neighbour)
                heapq.heappush(heap, (known[neighbour], neighbour))
    return gone


def wanted_bytes(limit: int) -> int:
    """How far to go down where the limit is reached."""
    return int(limit * (1 - _SLACK))
