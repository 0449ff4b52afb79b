"""Sequences of different lengths, packed for an LSTM, with a weight norm on the head, and a hidden state that is carried on."""
import hashlib

import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torch.utils.data import DataLoader

#: T.run(batches="DataLoader")
torch.manual_seed(21)
sequences = [torch.randint(1, 12, (n,)) for n in torch.randint(2, 9, (24,)).tolist()]


def collate(items):
    items = sorted(items, key=len, reverse=True)
    return pad_sequence(items, batch_first=True), torch.tensor([len(t) for t in items])


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.rnn = nn.Embedding(12, 8, padding_idx=0), nn.LSTM(8, 10, batch_first=True, bidirectional=True)
        self.head = weight_norm(nn.Linear(20, 12))

    def forward(self, x, lengths, state=None):
        packed = pack_padded_sequence(self.embed(x), lengths, batch_first=True)
        out, state = self.rnn(packed, state)
        out, _ = pad_packed_sequence(out, batch_first=True)
        return self.head(out), state


tagger = Tagger()
optim = torch.optim.Adagrad(tagger.parameters(), lr=0.1)
loader = DataLoader(sequences, batch_size=8, collate_fn=collate)
#: T.trains("tagger", tagger)
for epoch in range(2):
    state = None
    for padded, lengths in loader:
        #: T.batch()
        tagger.zero_grad()
        #: T.zero_grad()
        if state is not None:
            state = tuple(s.detach() for s in state)
        scores, state = tagger(padded, lengths, state)
        #: T.call("tagger")
        nll = nn.functional.cross_entropy(scores.transpose(1, 2), (padded + 1) % 12, ignore_index=1)
        #: T.backward(nll, "nll")
        nll.backward()
        nn.utils.clip_grad_norm_(tagger.parameters(), max_norm=0.25)
        #: T.clip()
        optim.step()
        #: T.step("optim")
    print(epoch, round(nll.item(), 6))
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in tagger.parameters())).hexdigest())
