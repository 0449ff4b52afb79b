"""Actor and critic in one module whose parts are called by themselves; a rollout without gradients, then epochs over its buffer."""
import hashlib

import torch
import torch.nn as nn
from torch.distributions.categorical import Categorical

torch.manual_seed(1)


class Agent(nn.Module):
    def __init__(self):
        super().__init__()
        self.critic = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
        self.actor = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))

    def get_value(self, x):
        v = self.critic(x)
        return v

    def get_action_and_value(self, x, action=None):
        logits = self.actor(x)
        probs = Categorical(logits=logits)
        if action is None:
            action = probs.sample()
        return action, probs.log_prob(action), probs.entropy(), self.get_value(x)


agent = Agent()
optimizer = torch.optim.Adam(agent.parameters(), lr=2.5e-3, eps=1e-5)
num_steps, gamma, lam = 16, 0.99, 0.95
for update in range(2):
    obs, actions, logprobs = torch.zeros(num_steps, 4), torch.zeros(num_steps), torch.zeros(num_steps)
    rewards, values = torch.zeros(num_steps), torch.zeros(num_steps)
    next_obs = torch.randn(4)
    for step in range(num_steps):
        obs[step] = next_obs
        with torch.no_grad():
            action, logprob, _, value = agent.get_action_and_value(next_obs.unsqueeze(0))
        values[step], actions[step], logprobs[step] = value.flatten(), action, logprob
        rewards[step] = 1.0 if (next_obs.sum() > 0) == bool(action) else 0.0
        next_obs = 0.9 * next_obs + 0.3 * torch.randn(4)
    with torch.no_grad():
        next_value = agent.get_value(next_obs.unsqueeze(0)).reshape(1)
        advantages, last = torch.zeros(num_steps), 0
        for t in reversed(range(num_steps)):
            after = next_value if t == num_steps - 1 else values[t + 1]
            last = advantages[t] = rewards[t] + gamma * after - values[t] + gamma * lam * last
        returns = advantages + values
    for epoch in range(2):
        b_inds = torch.randperm(num_steps)
        for start in range(0, num_steps, 8):
            mb_inds = b_inds[start : start + 8]
            _, newlogprob, entropy, newvalue = agent.get_action_and_value(obs[mb_inds], actions.long()[mb_inds])
            ratio = (newlogprob - logprobs[mb_inds]).exp()
            adv = advantages[mb_inds]
            adv = (adv - adv.mean()) / (adv.std() + 1e-8)
            pg_loss = torch.max(-adv * ratio, -adv * torch.clamp(ratio, 0.8, 1.2)).mean()
            v_loss = 0.5 * ((newvalue.view(-1) - returns[mb_inds]) ** 2).mean()
            loss = pg_loss - 0.01 * entropy.mean() + v_loss * 0.5
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimizer.step()
    print("update", update, round(loss.item(), 6), rewards.sum().item())
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in agent.parameters())).hexdigest())
