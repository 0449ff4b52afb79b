"""The training changes itself while it runs."""

from tests.torture.case import Case, Ending

FINE, TOLD, EITHER = (Ending.FINE,), (Ending.TOLD,), (Ending.FINE, Ending.TOLD)

CASES = [
    Case(name="adds_layers", does="adds a layer in every forward", endings=FINE,
         forward="self.add_module(f'more{self.calls}', nn.Linear(2, 2))"),
    Case(name="removes_layers", does="adds a layer and removes it in the next forward", endings=FINE,
         forward="""
         if self.calls % 2: self.extra = nn.Linear(3, 3)
         elif hasattr(self, 'extra'): del self.extra
         """),
    Case(name="replaces_parameters", does="a new Parameter in every forward", endings=FINE,
         forward="self.linear.weight = nn.Parameter(self.linear.weight.detach().clone())"),
    Case(name="edits_groups", does="adds an option to the groups and removes lr", endings=EITHER, top="OPT = []",
         forward="OPT[0].param_groups[0].pop('lr', None); OPT[0].param_groups[0]['note'] = {self.calls}",
         recipe="OPT.append(fields['optimizer'])"),
    Case(name="removes_hooks", does="clears every hook of its layers", endings=FINE,
         forward="self.linear._forward_hooks.clear(); self._forward_hooks.clear(); self.linear._forward_pre_hooks.clear()"),
    Case(name="changes_class", does="assigns __class__", endings=FINE, top="class Other(nn.Linear): pass",
         forward="self.linear.__class__ = Other"),
    Case(name="odd_names", does="layers with odd names: empty-looking, with surrogates, of 10,000 letters", endings=EITHER,
         init=r"for name in (' ', '\udcff', 'a' * 10_000, '<b>', '$'): self.add_module(name, nn.Linear(2, 2))"),
    Case(name="cycle", does="a layer that contains itself", endings=TOLD, init="self.linear.again = self.linear"),
    Case(name="steps_itself", does="runs backward and the optimizer in forward", endings=EITHER, top="OPT = []",
         forward="self.linear(x).sum().backward(); OPT[0].step(); OPT[0].zero_grad()",
         recipe="OPT.append(fields['optimizer'])"),
]  # fmt: skip
