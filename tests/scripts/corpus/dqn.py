"""Q-learning with a replay memory, a target network that is moved softly after each step, and gradients clipped by value."""
import hashlib
import random
from collections import deque, namedtuple

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim

random.seed(0)
torch.manual_seed(0)
Transition = namedtuple("Transition", ("state", "action", "next_state", "reward"))


class ReplayMemory:
    def __init__(self, capacity):
        self.memory = deque([], maxlen=capacity)

    def push(self, *args):
        self.memory.append(Transition(*args))

    def sample(self, n):
        return random.sample(self.memory, n)

    def __len__(self):
        return len(self.memory)


class DQN(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer1, self.layer2 = nn.Linear(3, 16), nn.Linear(16, 2)

    def forward(self, x):
        return self.layer2(F.relu(self.layer1(x)))


policy_net, target_net = DQN(), DQN()
target_net.load_state_dict(policy_net.state_dict())
optimizer = optim.AdamW(policy_net.parameters(), lr=1e-3, amsgrad=True)
memory = ReplayMemory(100)


def select_action(state):
    if random.random() > 0.5:
        with torch.no_grad():
            q = policy_net(state)
            return q.max(1).indices.view(1, 1)
    return torch.tensor([[random.randrange(2)]])


def optimize_model():
    if len(memory) < 8:
        return
    batch = Transition(*zip(*memory.sample(8)))
    q = policy_net(torch.cat(batch.state))
    state_action_values = q.gather(1, torch.cat(batch.action))
    with torch.no_grad():
        next_q = target_net(torch.cat(batch.next_state))
    expected = next_q.max(1).values * 0.9 + torch.cat(batch.reward)
    criterion = nn.SmoothL1Loss()
    loss = criterion(state_action_values, expected.unsqueeze(1))
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_value_(policy_net.parameters(), 100)
    optimizer.step()


state = torch.randn(1, 3)
for t in range(16):
    action = select_action(state)
    next_state = 0.8 * state + 0.2 * torch.randn(1, 3)
    memory.push(state, action, next_state, state.sum().view(1) * (2 * action.item() - 1))
    state = next_state
    optimize_model()
    target_sd, policy_sd = target_net.state_dict(), policy_net.state_dict()
    for key in policy_sd:
        target_sd[key] = policy_sd[key] * 0.05 + target_sd[key] * 0.95
    target_net.load_state_dict(target_sd)
nets = [*policy_net.parameters(), *target_net.parameters()]
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in nets)).hexdigest())
