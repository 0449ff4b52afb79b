"""Knowledge distillation: a teacher that is trained first, then frozen; the student learns from its logits."""
import hashlib

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim

#: T.run(batches="own indexing")
torch.manual_seed(101)
data = torch.randn(240, 10)
labels = (data[:, :5].sum(1) > 0).long() + (data[:, 5:].sum(1) > 0).long()
batches = list(zip(data.split(40), labels.split(40)))


def train(model, learning_rate):
    optimizer = optim.Adam(model.parameters(), lr=learning_rate)
    model.train()
    for inputs, target in batches:
        optimizer.zero_grad()
        #: T.zero_grad()
        loss = F.cross_entropy(model(inputs), target)
        #: T.call("teacher")
        #: T.backward(loss, "loss")
        loss.backward()
        optimizer.step()
        #: T.step("optimizer")


def train_knowledge_distillation(teacher, student, T_=2.0, soft=0.25, learning_rate=0.01):
    ce_loss = nn.CrossEntropyLoss()
    optimizer = optim.Adam(student.parameters(), lr=learning_rate)
    teacher.eval()
    student.train()
    for inputs, target in batches:
        optimizer.zero_grad()
        #: T.zero_grad()
        with torch.no_grad():
            teacher_logits = teacher(inputs)
            #: T.evaluate()
        student_logits = student(inputs)
        #: T.call("student")
        soft_targets = F.softmax(teacher_logits / T_, dim=-1)
        soft_prob = F.log_softmax(student_logits / T_, dim=-1)
        soft_targets_loss = torch.sum(soft_targets * (soft_targets.log() - soft_prob)) / soft_prob.size(0) * T_**2
        loss = soft * soft_targets_loss + (1 - soft) * ce_loss(student_logits, target)
        #: T.backward(loss, "loss")
        loss.backward()
        optimizer.step()
        #: T.step("optimizer")
    print(f"distilled: {loss.item():.4f}")


teacher = nn.Sequential(nn.Linear(10, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 3))
student = nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 3))
#: T.trains("teacher", teacher)
#: T.trains("student", student)
train(teacher, 0.01)
for p in teacher.parameters():
    p.requires_grad = False
train_knowledge_distillation(teacher, student)
h = hashlib.sha256()
for p in [*teacher.parameters(), *student.parameters()]:
    h.update(p.detach().numpy().tobytes())
print("FINAL", h.hexdigest())
