"""A tiny GPT: it learns twelve Shakespeare sonnets, character by character.

Every position looks back at the characters before it and predicts the next one. The token embedding and the
output head are one and the same matrix (tied weights). The rate warms up, then follows half a cosine down.

What to watch:
* Forward: the first loss is near ln 56 = 4.03: each of the 56 characters is about equally likely.
* Backward: the tied matrix `token.weight` gets gradients from both of its uses, and they are added up; no
  other parameter collects from two places.
* Step: the first step is tiny, as warmup starts at 1/20 of the rate; the Learning rate tab shows the curve.
* Run: the loss falls to about 2 in the 400 steps of the schedule: first it learns which letters are frequent,
  then which letter follows which, then the beginnings of words.
"""

import math

import torch
import torch.nn.functional as F
from sonnets_data import sonnets
from torch import Tensor, nn

from gradscope import Recipe

CONTEXT, WIDTH, HEADS, BLOCKS = 64, 64, 4, 2
WARMUP_STEPS, TOTAL_STEPS = 20, 400


class CausalSelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query_key_value = nn.Linear(WIDTH, 3 * WIDTH)
        self.mix = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        per_head = self.query_key_value(x).unflatten(-1, (3, HEADS, -1))
        query, key, value = per_head.permute(2, 0, 3, 1, 4)
        heads = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.mix(heads.transpose(1, 2).flatten(start_dim=2))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.attention = CausalSelfAttention()
        self.norm2 = nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TinyGPT(nn.Module):
    def __init__(self, *, characters: int) -> None:
        super().__init__()
        self.token = nn.Embedding(characters, WIDTH)
        self.position = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, characters, bias=False)
        nn.init.normal_(self.token.weight, std=0.02)
        nn.init.normal_(self.position.weight, std=0.02)
        self.head.weight = self.token.weight

    def forward(self, tokens: Tensor) -> Tensor:
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.token(tokens) + self.position(positions)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def next_character_loss(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(end_dim=1), targets.flatten())


def warmup_then_cosine(step: int) -> float:
    if step < WARMUP_STEPS:
        return (step + 1) / WARMUP_STEPS
    progress = min(1.0, (step - WARMUP_STEPS) / (TOTAL_STEPS - WARMUP_STEPS))
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress))


def recipe() -> Recipe:
    dataset, alphabet = sonnets(length=CONTEXT)
    model = TinyGPT(characters=len(alphabet))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    return Recipe(
        name="Character transformer",
        description="A tiny GPT reads Shakespeare: causal attention, tied weights, AdamW, warmup and cosine.",
        model=model,
        dataset=dataset,
        loss=next_character_loss,
        optimizer=optimizer,
        scheduler=torch.optim.lr_scheduler.LambdaLR(optimizer, warmup_then_cosine),
        scheduler_unit="step",
        batch_size=32,
    )
