"""The loop is in another file of the folder (loops.py), which is imported."""
import hashlib

import torch

from loops import fit, make_network

torch.manual_seed(28)
network = make_network(7)
if __name__ == "__main__":
    history = fit(network, epochs=2)
    print([round(value, 5) for value in history])
    h = hashlib.sha256()
    for p in network.parameters():
        h.update(p.detach().numpy().tobytes())
    print("FINAL", h.hexdigest())
