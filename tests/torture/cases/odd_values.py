"""Values that nobody expects."""

from tests.torture.case import Case, Ending

FINE, TOLD, EITHER = (Ending.FINE,), (Ending.TOLD,), (Ending.FINE, Ending.TOLD)

CASES = [
    Case(name="loss_nan", does="the loss is NaN", endings=FINE, loss="return (output * float('nan')).sum()"),
    Case(name="loss_complex", does="the loss is complex", endings=TOLD, says="complex", loss="return (output * 1j).sum()"),
    Case(name="loss_int", does="the loss is an int", endings=TOLD, says="the loss is an int", loss="return 3"),
    Case(name="loss_many", does="the loss has several elements", endings=TOLD, says="shape", loss="return output"),
    Case(name="loss_text", does="the loss is a str", endings=TOLD, says="the loss is a str", loss="return 'low'"),
    Case(name="output_set", does="a layer returns a set, another a generator, another None", endings=FINE,
         top="""
         class Odd(nn.Module):
             def __init__(self, value): super().__init__(); self.value = value
             def forward(self, x): return self.value(x)
         """,
         init="self.a, self.b, self.c = Odd(lambda x: {1}), Odd(lambda x: (t for t in [x])), Odd(lambda x: None)",
         forward="self.a(x); self.b(x); self.c(x)"),
    Case(name="batch_of_none", does="the batch is empty", endings=EITHER,
         recipe="fields['dataset'] = [(torch.ones(0, 3), torch.ones(0, 2))] * 3; fields['collate'] = lambda s: s[0]"),
    Case(name="zero_d", does="0-d and empty parameters", endings=FINE,
         init="self.scale = nn.Parameter(torch.tensor(1.0)); self.none = nn.Parameter(torch.empty(0, 3))",
         forward="return self.linear(x) * self.scale + self.none.sum()"),
    Case(name="meta", does="a parameter on the meta device", endings=TOLD,
         init="self.ghost = nn.Parameter(torch.empty(3, device='meta'))",
         forward="return self.linear(x * self.ghost)"),
    Case(name="sparse", does="a sparse output inside, and sparse gradients", endings=EITHER,
         init="self.table = nn.Embedding(10, 2, sparse=True)",
         forward="torch.eye(3).to_sparse(); return self.linear(x) + self.table(torch.tensor([1, 2, 3, 4]))[: len(x)]"),
    Case(name="huge_numbers", does="activations of 1e38 and Inf", endings=FINE, forward="x = x * 1e38 * 10"),
    Case(name="nested_batch", does="a batch nested 2,000 deep", endings=EITHER,
         top="""
         def collate(samples):
             found = [torch.stack(part) for part in zip(*samples)]
             deep = found[0]
             for _ in range(2000): deep = [deep]
             return deep, found[1]
         """,
         forward="""
         while isinstance(x, list): x = x[0]
         """,
         recipe="fields['collate'] = collate"),
]  # fmt: skip
