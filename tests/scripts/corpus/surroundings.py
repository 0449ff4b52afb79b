"""What a script has around it: a data file by a relative path, __file__, sys.argv, the environment, atexit, signals, stdin."""
import atexit
import csv
import hashlib
import os
import pathlib
import signal
import sys
import threading
import time

import torch
from torch import nn

print(sys.argv[0], sys.argv[1:], os.path.basename(__file__), pathlib.Path(__file__).parent == pathlib.Path(sys.path[0]))
print(os.path.isabs(__file__), os.path.samefile(os.getcwd(), os.path.dirname(__file__)), __name__, __doc__[:12])
atexit.register(lambda: print("at exit", flush=True))
asked, ticks = [], []
signal.signal(signal.SIGUSR1, lambda number, frame: asked.append(number))
signal.signal(signal.SIGINT, lambda number, frame: asked.append(number))
signal.signal(signal.SIGALRM, lambda number, frame: ticks.append(number))

with open("surroundings.csv") as f:
    rows = [[float(v) for v in row] for row in list(csv.reader(f))[1:]]
table = torch.tensor(rows)
torch.manual_seed(0)
linear = nn.Linear(2, 1)
optimizer = torch.optim.SGD(linear.parameters(), lr=0.02)
signal.setitimer(signal.ITIMER_REAL, 0.05)
for i in range(10):
    optimizer.zero_grad()
    loss = (linear(table[:, :2]) - table[:, 2:]).square().mean()
    loss.backward()
    optimizer.step()
    if i in (3, 6):
        os.kill(os.getpid(), signal.SIGUSR1)
    if i == 7:
        os.kill(os.getpid(), signal.SIGINT)
while not ticks:
    time.sleep(0.01)
print("signals", [int(number) for number in asked], len(ticks))
thread = threading.Thread(target=lambda: print("from a thread", threading.current_thread() is threading.main_thread()))
thread.start()
thread.join()
try:
    input("a question? ")
except EOFError:
    print("nobody answers")
print("loss %.6f" % loss.item())
print("to stderr", file=sys.stderr)
sys.stdout.write("FINAL " + hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in linear.parameters())).hexdigest() + "\n")
os.write(1, b"") if sys.stdout.flush() is None else None
