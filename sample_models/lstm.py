"""An LSTM that spells: words of different lengths in one batch, packed so that no padding is ever computed.

It reads the words of the sonnets letter by letter, and predicts each next letter and where the word ends. A batch is
padded to its longest word; packing leaves the padding out, and the words run through the LSTM side by side.

What to watch:
* Forward: `embedding` puts out one row for each letter of the batch, and none for padding. `lstm` has three outputs:
  the packed rows, and the last hidden and cell state of each word, taken where that word ends.
* Backward: all time steps share `lstm.weight_hh_l0`; its gradient is the sum over all of them. `lstm.bias_ih_l0` and
  `lstm.bias_hh_l0` do the same thing twice, they are only ever added: their gradients agree.
* Run: the first loss is near ln 28 = 3.33, the price of guessing among 27 letters and the end. It falls below 2.2 in
  three epochs, though each batch has another number of rows.
"""

import re

import torch
import torch.nn.functional as F
from sonnets_data import FILE
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_sequence

from gradscope import Recipe

END = "."
ALPHABET = END + "'abcdefghijklmnopqrstuvwxyz"
WIDTH = 64


def words() -> list[Tensor]:
    """Every word of the sonnets as letter numbers, with END before and after it."""
    found = re.findall(r"[a-z']+", FILE.read_text(encoding="utf-8").lower())
    return [torch.tensor([ALPHABET.index(letter) for letter in f"{END}{word}{END}"]) for word in found]


def pad(batch: list[Tensor]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(word) for word in batch])
    return pad_sequence(batch, batch_first=True), lengths


def pack(letters: Tensor, lengths: Tensor) -> PackedSequence:
    return pack_padded_sequence(letters, lengths.cpu(), batch_first=True, enforce_sorted=False)


class Speller(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(ALPHABET), WIDTH)
        self.lstm = nn.LSTM(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, len(ALPHABET))

    def forward(self, letters: PackedSequence) -> Tensor:
        """Scores of shape (letters in the batch, len(ALPHABET))."""
        embedded = letters._replace(data=self.embedding(letters.data))
        hidden, _ = self.lstm(embedded)
        return self.head(hidden.data)


def next_letter(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    letters, lengths = batch
    scores = model(pack(letters[:, :-1], lengths - 1))
    targets = pack(letters[:, 1:], lengths - 1)
    return F.cross_entropy(scores, targets.data), scores


def recipe() -> Recipe:
    model = Speller()
    return Recipe(
        name="LSTM that spells",
        description="Packed sequences of different lengths: an LSTM learns to spell the words of the sonnets.",
        model=model,
        dataset=words(),
        optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
        training_step=next_letter,
        collate=pad,
        batch_size=32,
    )
