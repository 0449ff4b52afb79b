"""argparse refuses an option: usage on the standard error stream, exit code 2, nothing trained."""
import argparse

parser = argparse.ArgumentParser(description="never trains")
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--epochs", type=int, default=1)
args = parser.parse_args()

import torch

model = torch.nn.Linear(2, 1)
torch.optim.SGD(model.parameters(), lr=args.lr)
print("FINAL none")
