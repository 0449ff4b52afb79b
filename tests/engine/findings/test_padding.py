"""A loss that is mostly about padding, and masks that hide the wrong part."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradscope.engine.findings.draft import CannotJudge
from gradscope.engine.findings.experiments.masks import find_hidden
from gradscope.engine.findings.experiments.padding import find_padding
from tests.engine.findings.plain_bench import PlainBench

B, T, V = 12, 16, 11


def rows(pad: int = 0, *, left: bool = False, long: bool = False, length: int = T + 1) -> Tensor:
    torch.manual_seed(0)
    tokens = torch.randint(1, V - 1, (B, length))
    lengths = torch.randint(9 if long else 3, 17 if long else 7, (B, 1))
    there = torch.arange(length) < lengths
    filled = torch.where(there, tokens, torch.tensor(pad))
    return filled.flip(1) if left else filled


class Reader(nn.Module):
    def __init__(self, padding: int | None = None) -> None:
        super().__init__()
        self.emb, self.rnn, self.head = (
            nn.Embedding(V, 8, padding_idx=padding),
            nn.GRU(8, 8, batch_first=True),
            nn.Linear(8, V),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.emb(x))[0])


def over(ignored: int = -100) -> Any:
    return lambda out, y: F.cross_entropy(out.flatten(0, 1), y.flatten(), ignore_index=ignored)


def of_padding(bench: PlainBench) -> list[str]:
    return [draft.id for draft in find_padding(bench, bench.record)]


@pytest.mark.parametrize("pad", [0, V - 1])
@pytest.mark.parametrize("left", [False, True])
def test_a_loss_that_counts_padding(pad: int, left: bool) -> None:
    s = rows(pad, left=left)
    batch = [s[:, :-1], s[:, 1:]]
    assert of_padding(PlainBench(Reader(), [batch], over())) == ["loss-over-padding"]
    assert of_padding(PlainBench(Reader(pad), [batch], over(pad))) == []


def test_a_step_of_its_own_with_a_mask_in_the_batch() -> None:
    s = rows()
    batch = {"ids": torch.where(s == 0, 5, s), "mask": (s != 0).long()}

    def step(masks: bool) -> Any:
        def run(model: Any, batch: Any) -> Any:
            out = model(batch["ids"][:, :-1])
            losses = F.cross_entropy(out.transpose(1, 2), batch["ids"][:, 1:], reduction="none")
            there = batch["mask"][:, 1:] if masks else torch.ones_like(losses)
            return (losses * there).sum() / there.sum(), out

        return run

    assert of_padding(PlainBench(Reader(), [batch], step=step(False))) == ["loss-over-padding"]
    assert of_padding(PlainBench(Reader(), [batch], step=step(True))) == []


class Values(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(3, 8, batch_first=True), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0])[..., 0]


def test_values_that_are_filled_up_with_zeros() -> None:
    there = (rows(length=T) != 0).float()
    x, y = torch.randn(B, T, 3) * there[..., None], torch.randn(B, T) * there
    assert of_padding(PlainBench(Values(), [[x, y]], F.mse_loss)) == ["loss-over-padding"]
    masked = PlainBench(Values(), [[x, y]], lambda out, y: (((out - y) ** 2) * (y != 0)).sum() / (y != 0).sum())
    assert of_padding(masked) == []


def test_a_little_padding_and_an_id_that_is_a_word_too_are_silent() -> None:
    s = rows(long=True)
    assert of_padding(PlainBench(Reader(), [[s[:, :-1], s[:, 1:]]], over())) == []
    s = rows()
    s[:, 1] = 0
    assert of_padding(PlainBench(Reader(), [[s[:, :-1], s[:, 1:]]], over())) == []


class Attention(nn.Module):
    def __init__(self, *, inverted: bool, pooled: bool = True, masks: bool = True) -> None:
        super().__init__()
        self.emb = nn.Embedding(V, 8, padding_idx=0)
        self.attn = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)
        self.inverted, self.pooled, self.masks = inverted, pooled, masks

    def forward(self, x: Tensor) -> Tensor:
        mask = (x != 0) if self.inverted else (x == 0)
        h = self.emb(x)
        h = h + self.attn(h, h, h, key_padding_mask=mask if self.masks else None)[0]
        return self.head(h.mean(1) if self.pooled else h[:, 0])


class Pooled(nn.Module):
    """The mean over what the mask keeps."""

    def __init__(self, *, inverted: bool) -> None:
        super().__init__()
        self.emb, self.head, self.inverted = nn.Embedding(V, 8), nn.Linear(8, 3), inverted

    def forward(self, x: Tensor) -> Tensor:
        kept = ((x == 0) if self.inverted else (x != 0)).float()[..., None]
        return self.head((self.emb(x) * kept).sum(1) / kept.sum(1).clamp_min(1))


def hidden(model: nn.Module) -> list[str]:
    batch = [rows(length=T), torch.randint(0, 3, (B,))]
    bench = PlainBench(model, [batch])
    return [draft.where for draft in find_hidden(bench, bench.record)]


def test_masks_that_are_inverted() -> None:
    assert hidden(Attention(inverted=True)) == ["attn"]
    assert hidden(Attention(inverted=True, pooled=False)) == ["attn"]
    assert hidden(Pooled(inverted=True)) == [""]


@pytest.mark.parametrize(
    "model",
    [
        Attention(inverted=False),
        Attention(inverted=False, masks=False),
        Pooled(inverted=False),
        nn.Sequential(nn.Embedding(V, 8), nn.Flatten(), nn.Linear(8 * T, 3)),
    ],
)
def test_right_and_missing_masks_are_silent(model: nn.Module) -> None:
    assert hidden(model) == []


def test_a_causal_reader_of_padded_rows_is_silent() -> None:
    s = rows()
    bench = PlainBench(Reader(0), [[s[:, :-1], s[:, 1:]]], over(0))
    assert [*find_hidden(bench, bench.record)] == []


def test_without_padding_it_is_not_judged() -> None:
    bench = PlainBench(Reader(), [[torch.randint(1, V, (B, T)), torch.randint(1, V, (B, T))]], over())
    with pytest.raises(CannotJudge):
        find_hidden(bench, bench.record)
