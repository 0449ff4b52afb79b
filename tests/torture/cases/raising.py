"""Everything of the user's raises, and some of what is raised is no ordinary exception."""

from tests.torture.case import Case, Ending

TOLD, FINE = (Ending.TOLD,), (Ending.FINE,)
EITHER = (Ending.TOLD, Ending.FINE)

_DATASET = """
class Data(Dataset):
    def __len__(self):
        {length}
    def __getitem__(self, i):
        {item}
"""
_OPTIMIZER = """
class Odd(torch.optim.SGD):
    {body}
"""
_OPTIMIZER_IS_ODD = "fields['optimizer'] = Odd(model.parameters(), lr=0.01)"


def _data(length: str = "return 24", item: str = "return torch.ones(3), torch.ones(2)") -> str:
    return _DATASET.format(length=length, item=item)


CASES = [
    Case(name="len_raises", does="the dataset's __len__ raises AttributeError", endings=TOLD, says="no attribute 'items'",
         top=_data("return len(self.items)"), recipe="fields['dataset'] = Data()"),
    Case(name="validation_len_raises", does="the validation's __len__ raises", endings=TOLD, says="validation dataset",
         top=_data("return len(self.items)"), recipe="fields['validation'] = Data()"),
    Case(name="len_exits", does="__len__ calls sys.exit", endings=TOLD, says="sys.exit('enough')",
         top=_data("sys.exit('enough')"), recipe="fields['dataset'] = Data()"),
    Case(name="getitem_stops", does="__getitem__ raises StopIteration, which ends a plain loop's epoch", endings=EITHER,
         top=_data(item="raise StopIteration"), recipe="fields['dataset'] = Data()"),
    Case(name="sampler_raises", does="a sampler's __iter__ raises", endings=TOLD, says="no order",
         top="""
         class Order(Sampler):
             def __len__(self): return 24
             def __iter__(self): raise LookupError("no order")
         """,
         recipe="fields['dataset'] = DataLoader(data, 4, sampler=Order())"),
    Case(name="collate_raises", does="collate raises", endings=TOLD, says="cannot collate",
         top="def collate(samples): raise ValueError('cannot collate')", recipe="fields['collate'] = collate"),
    Case(name="train_raises", does="model.train() raises", endings=TOLD, says="model.train() failed",
         methods="def train(self, mode=True): return self.backbone.train(mode)"),
    Case(name="eval_raises", does="model.eval() raises in the validation", endings=TOLD, says="validation",
         methods="def eval(self): raise RuntimeError('never eval')", recipe="fields['validation'] = data"),
    Case(name="to_raises", does="model.to() raises", endings=TOLD, says="cannot be moved",
         methods="def to(self, *a, **k): raise AttributeError('no to')"),
    Case(name="state_dict_raises", does="model.state_dict() raises where the best weights are kept", endings=TOLD,
         says="no state for you", methods="def state_dict(self, *a, **k): raise RuntimeError('no state for you')",
         recipe="fields.update(validation=data, best_metric='loss')"),
    Case(name="named_parameters_raises", does="named_parameters() raises", endings=TOLD, says="named_parameters()",
         methods="""
         def named_parameters(self, prefix='', recurse=True, remove_duplicate=True):
             if not remove_duplicate: raise KeyError('nameless')
             return super().named_parameters(prefix, recurse)
         """),
    Case(name="modules_hidden", does="self.modules is a list of the user's", endings=FINE,
         init="self.modules = [self.linear]"),
    Case(name="extra_repr_raises", does="extra_repr and __repr__ raise", endings=FINE,
         methods="def extra_repr(self): sys.exit(3)\n__repr__ = extra_repr"),
    Case(name="getattr_raises", does="__getattr__ raises something else than AttributeError", endings=EITHER,
         methods="""
         def __getattr__(self, name):
             if name.startswith('_') or name in ('linear',): return super().__getattr__(name)
             raise KeyError(name)
         """),
    Case(name="bool_eq_hash", does="the model's __bool__, __eq__ and __len__ raise", endings=EITHER,
         methods="""
         def __bool__(self): raise TypeError('no truth')
         def __len__(self): raise TypeError('no length')
         def __eq__(self, other): raise TypeError('no equals')
         __hash__ = nn.Module.__hash__
         """),
    Case(name="unhashable", does="the model cannot be hashed", endings=EITHER, methods="__hash__ = None"),
    Case(name="class_raises", does="the loss's __class__ raises", endings=TOLD, says="no class",
         top="""
         class Loss:
             @property
             def __class__(self): raise RuntimeError('no class')
             def __call__(self, a, b): return nn.functional.mse_loss(a, b)
         """,
         recipe="fields['loss'] = Loss()"),
    Case(name="param_groups_raises", does="the optimizer's param_groups raises once training has begun", endings=TOLD,
         says="param_groups",
         top=_OPTIMIZER.format(body="""
    def step(self, closure=None):
        self.param_groups = None
         """), recipe=_OPTIMIZER_IS_ODD),
    Case(name="lr_is_text", does="a learning rate becomes a text", endings=TOLD, says="learning rates",
         forward="OPT[0].param_groups[0]['lr'] = 'fast'", top="OPT = []", recipe="OPT.append(fields['optimizer'])"),
    Case(name="state_raises", does="the optimizer's state is no dict", endings=EITHER,
         top=_OPTIMIZER.format(body="""
    def step(self, closure=None):
        super().step(); self.state = [1, 2]
         """), recipe=_OPTIMIZER_IS_ODD),
    Case(name="optimizer_repr", does="an option of the optimizer has a __repr__ that raises", endings=FINE,
         top="""
         class Bad:
             def __repr__(self): raise OSError('no repr')
             def __deepcopy__(self, memo): return self
         """,
         recipe="fields['optimizer'].param_groups[0]['extra'] = Bad()"),
    Case(name="scheduler_raises", does="get_lr() raises at the third step", endings=TOLD, says="no rate",
         top="""
         def rate(step):
             if step > 2: raise ArithmeticError('no rate')
             return 1.0
         """,
         recipe="fields['scheduler'] = LambdaLR(fields['optimizer'], rate)"),
    Case(name="scheduler_deepcopy", does="the scheduler cannot be copied for the forecast", endings=FINE,
         top="""
         class Uncopied(StepLR):
             def __deepcopy__(self, memo): raise GeneratorExit('mine')
         """,
         recipe="fields['scheduler'] = Uncopied(fields['optimizer'], 3)"),
    Case(name="metric_raises", does="a metric raises SystemExit", endings=TOLD, says="sys.exit('no metric')",
         recipe="fields.update(validation=data, metrics={'m': lambda out, y: sys.exit('no metric')})"),
    Case(name="str_raises", does="the exception's __str__ raises", endings=TOLD, says="Odd",
         top="class Odd(Exception):\n    def __str__(self): return 'bad value %d' % self.args[0]",
         forward="raise Odd('three')"),
    Case(name="args_raise", does="the exception's args, __traceback__ and __cause__ are properties that raise", endings=TOLD,
         says="Odd",
         top="""
         class Odd(Exception):
             args = __traceback__ = __cause__ = __context__ = __notes__ = property(lambda self: 1 / 0)
             def __str__(self): raise SystemExit
             __repr__ = __str__
         """,
         forward="raise Odd"),
    Case(name="meta_raises", does="the exception's metaclass lies about __name__", endings=TOLD, says="Odd",
         top="""
         class Meta(type):
             __name__ = property(lambda cls: 1 / 0)
             def __instancecheck__(cls, other): raise RuntimeError('no instance')
         class Odd(Exception, metaclass=Meta): pass
         """,
         forward="raise Odd('x')"),
    Case(name="keyboard_interrupt", does="forward raises KeyboardInterrupt itself", endings=TOLD, says="KeyboardInterrupt",
         forward="raise KeyboardInterrupt"),
    Case(name="stop_iteration", does="forward raises StopIteration", endings=TOLD, says="StopIteration",
         forward="raise StopIteration('mine')"),
    Case(name="generator_exit", does="forward raises GeneratorExit", endings=TOLD, says="GeneratorExit",
         forward="raise GeneratorExit('mine')"),
    Case(name="our_error", does="forward raises a class derived from gradscope's own error, without a failure", endings=TOLD,
         says="Mine",
         top="""
         from gradscope.protocol.failure import BadInput
         class Mine(BadInput):
             def __init__(self): self.failure = 3
         """,
         forward="raise Mine"),
    Case(name="our_error_in_recipe", does="recipe() raises such a class", endings=TOLD, says="Mine",
         top="""
         from gradscope.protocol.failure import BadInput
         class Mine(BadInput):
             def __init__(self): pass
         """,
         recipe="raise Mine"),
    Case(name="base_exception", does="forward raises a BaseException of its own", endings=TOLD, says="Mine",
         top="class Mine(BaseException): pass", forward="raise Mine('base')"),
    Case(name="syntax_error_of_bytes", does="a SyntaxError whose fields are bytes and a text", endings=TOLD,
         says="SyntaxError", forward="raise SyntaxError(b'bad', (None, '7', b'x', b'text'))"),
    Case(name="syntax_error_at_import", does="the same while the file is imported", endings=TOLD, says="SyntaxError",
         top="raise SyntaxError(b'bad', (b'file', '7', b'x', b'text'))"),
    Case(name="surrogates", does="a message and a note with lone surrogates", endings=TOLD, says="half",
         forward=r"error = ValueError('half \udcff'); error.add_note('\ud800'); raise error"),
    Case(name="long_message", does="a message of 100 MB", endings=TOLD, says="ValueError",
         forward="raise ValueError('a' * 10**8)"),
    Case(name="long_chain", does="a chain of 10,000 exceptions", endings=TOLD, says="number 9999",
         forward="""
         error = None
         for i in range(10_000):
             new = ValueError(f'number {i}'); new.__context__ = error; error = new
         raise error
         """),
    Case(name="cause_cycle", does="two exceptions are each other's cause", endings=TOLD, says="one",
         forward="""
         one, two = ValueError('one'), ValueError('two')
         one.__cause__, two.__cause__ = two, one
         raise one
         """),
    Case(name="huge_group", does="an ExceptionGroup of 100,000, nested 50 deep", endings=TOLD, says="group 49",
         forward="""
         group = ExceptionGroup('group', [ValueError(i) for i in range(100_000)])
         for i in range(50): group = ExceptionGroup(f'group {i}', [group, KeyError(i)])
         raise group
         """),
    Case(name="recursion", does="forward calls itself without end", endings=TOLD, says="RecursionError",
         forward="self.forward(x)"),
    Case(name="del_raises", does="an object's __del__ raises", endings=FINE,
         top="class Bad:\n    def __del__(self): raise RuntimeError('gone')", forward="Bad()"),
    Case(name="torch_function_raises", does="the output is a tensor whose __torch_function__ raises", endings=EITHER,
         top="""
         class Odd(torch.Tensor):
             @classmethod
             def __torch_function__(cls, function, types, args=(), kwargs=None): raise RuntimeError('no function')
         """,
         forward="return self.linear(x).as_subclass(Odd)"),
    Case(name="wrong_fields", does="every field of the recipe is an object whose __class__ and __repr__ raise", endings=TOLD,
         says="ZeroDivisionError",
         top="""
         class Gone:
             __class__ = property(lambda self: 1 / 0)
             def __repr__(self): raise RuntimeError('gone')
             def __getattr__(self, name): raise RuntimeError('gone')
         """,
         recipe="fields = dict.fromkeys(fields, Gone())"),
    Case(name="module_getattr", does="a script that trains nothing; the file's own __getattr__ raises", endings=TOLD,
         says="module_getattr.py",
         source="def __getattr__(name): raise RuntimeError('no names')\n"),
]  # fmt: skip
