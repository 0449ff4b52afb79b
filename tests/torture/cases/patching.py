"""What belongs to everybody in the process is changed: builtins, modules, signals, torch's settings."""

from tests.torture.case import Case, Ending

FINE = (Ending.FINE,)
ANY = (Ending.FINE, Ending.TOLD, Ending.DIED)
EITHER = (Ending.FINE, Ending.TOLD)
_RAISE = "def refuse(*a, **k): raise RuntimeError('patched')\n"

CASES = [
    Case(name="open", does="builtins.open raises", endings=EITHER, poisons=True, top=_RAISE,
         forward="builtins.open = refuse"),
    Case(name="len", does="builtins.len raises", endings=ANY, poisons=True, top=_RAISE, forward="builtins.len = refuse"),
    Case(name="print", does="builtins.print raises", endings=FINE, top=_RAISE, forward="builtins.print = refuse"),
    Case(name="isinstance", does="builtins.isinstance raises", endings=ANY, poisons=True, top=_RAISE,
         forward="builtins.isinstance = refuse"),
    Case(name="modules_odd", does="puts None, numbers and objects that raise into sys.modules", endings=FINE,
         forward="""
         class Bad:
             def __getattr__(self, name): raise RuntimeError('patched')
         sys.modules.update({'a.b': None, 'c': 3, 'd': Bad()})
         """),
    Case(name="torch_functions", does="torch.isfinite, torch.no_grad and Tensor.detach raise", endings=ANY, poisons=True,
         top=_RAISE, forward="torch.isfinite = torch.zeros = torch.Tensor.detach = refuse"),
    Case(name="json", does="json.dumps raises", endings=ANY, poisons=True, top=_RAISE, forward="json.dumps = refuse"),
    Case(name="socket", does="socket.socket is replaced, and the default timeout is tiny", endings=FINE,
         top=_RAISE, forward="socket.setdefaulttimeout(0.001); socket.socket = refuse"),
    Case(name="time", does="time.time, perf_counter and monotonic return constants", endings=FINE,
         forward="time.time = time.perf_counter = time.monotonic = lambda: 1.0"),
    Case(name="excepthook", does="sys.excepthook and threading.excepthook raise", endings=FINE, top=_RAISE,
         forward="sys.excepthook = threading.excepthook = refuse"),
    Case(name="signals", does="ignores SIGINT, SIGTERM and SIGCHLD", endings=FINE,
         forward="for s in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD): signal.signal(s, signal.SIG_IGN)"),
    Case(name="environ", does="clears os.environ and changes the folder to one that it removes", endings=FINE,
         top="import tempfile", forward="""
         os.environ.clear()
         folder = tempfile.mkdtemp(dir='/tmp'); os.chdir(folder); os.rmdir(folder)
         """),
    Case(name="locale", does="sets the locale to one with decimal commas, where there is one", endings=FINE,
         forward="""
         for name in ('de_DE.UTF-8', 'C'):
             try: locale.setlocale(locale.LC_ALL, name); break
             except locale.Error: pass
         """),
    Case(name="default_dtype", does="the default dtype is float64", endings=FINE,
         forward="torch.set_default_dtype(torch.float64)"),
    Case(name="default_device", does="the default device is meta", endings=EITHER,
         forward="torch.set_default_device('meta')"),
    Case(name="grad_mode", does="switches gradients off for good, at the third forward", endings=(Ending.TOLD,),
         forward="if self.calls == 3: torch.set_grad_enabled(False)"),
    Case(name="gc_disable", does="gc.disable, and a debug flag", endings=FINE, forward="gc.disable()"),
    Case(name="recursion_limit", does="a recursion limit of 80", endings=ANY, poisons=True,
         forward="if self.calls == 2: sys.setrecursionlimit(len(__import__('inspect').stack()) + 40)"),
    Case(name="seeds", does="seeds every generator in each forward", endings=FINE,
         forward="random.seed(1); np.random.seed(1); torch.manual_seed(1)"),
    Case(name="warnings_as_errors", does="every warning is an error", endings=EITHER,
         top="import warnings", forward="warnings.simplefilter('error')"),
    Case(name="settrace", does="a trace function and a profile function that raise", endings=ANY,
         forward="""
         def trace(*a): raise RuntimeError('traced')
         if self.calls == 2: sys.settrace(trace); sys.setprofile(trace)
         """),
    Case(name="sys_path", does="empties sys.path and sys.meta_path", endings=FINE, poisons=True,
         forward="sys.path.clear(); sys.meta_path.clear()"),
]  # fmt: skip
