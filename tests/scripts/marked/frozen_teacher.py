"""Distillation from a teacher that stands still, called with gradients on but without any that need one; two temperatures."""
import hashlib

import torch
import torch.nn.functional as F
from torch import nn

#: T.run(batches="own random")
torch.manual_seed(17)
teacher = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 4))
student = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
teacher.eval()
for p in teacher.parameters():
    p.requires_grad = False
opt = torch.optim.SGD(student.parameters(), lr=0.2, nesterov=True, momentum=0.9)
#: T.trains("student", student)
T_soft = 2.0
for step in range(4):
    x = torch.randn(24, 6)
    y = x[:, :4].argmax(1)
    teacher_logits = teacher(x)
    #: T.call("teacher")
    student_logits = student(x)
    #: T.call("student")
    kd = F.kl_div(F.log_softmax(student_logits / T_soft, 1), F.softmax(teacher_logits / T_soft, 1), reduction="batchmean")
    loss = 0.7 * kd * T_soft**2 + 0.3 * F.cross_entropy(student_logits, y, label_smoothing=0.1)
    opt.zero_grad()
    #: T.zero_grad()
    #: T.backward(loss, "loss")
    loss.backward()
    opt.step()
    #: T.step("opt")
    print(step, round(loss.item(), 6))
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in student.parameters())).hexdigest())
