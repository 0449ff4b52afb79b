"""Processes and threads beside the engine's."""

from tests.torture.case import Case, Ending

FINE, TOLD = (Ending.FINE,), (Ending.TOLD,)
EITHER = (Ending.FINE, Ending.TOLD)

_WORKERS = "fields['dataset'] = DataLoader(Data(), 4, num_workers=2)"
_DATA = """
class Data(Dataset):
    def __len__(self): return 24
    def __getitem__(self, i):
        {item}
        return torch.ones(3), torch.ones(2)
"""

CASES = [
    Case(name="fork_waits", leaves_processes=True, does="os.fork in forward; the child sleeps", endings=FINE,
         forward="if self.calls == 1 and os.fork() == 0: time.sleep(1000)"),
    Case(name="fork_returns", leaves_processes=True, does="os.fork in forward; the child goes on with the training",
         endings=(Ending.FINE, Ending.DIED),
         forward="if self.calls == 3: os.fork()"),
    Case(name="setsid_child", leaves_processes=True, does="a child in a session of its own sleeps on", endings=FINE,
         forward="if self.calls == 1: subprocess.Popen(['sleep', '600'], start_new_session=True)"),
    Case(name="worker_exits", does="a worker of the DataLoader calls os._exit", endings=TOLD, says="worker",
         top=_DATA.format(item="if i == 9: os._exit(4)"), recipe=_WORKERS),
    Case(name="worker_raises", does="a worker raises an exception that cannot be pickled", endings=TOLD, says="bad",
         top="class Odd(Exception):\n    def __init__(self, a, b): super().__init__('bad')\n"
         + _DATA.format(item="if i == 9: raise Odd(1, 2)"), recipe=_WORKERS),
    Case(name="worker_ignores", does="workers ignore SIGTERM and SIGINT", endings=FINE,
         top=_DATA.format(item="signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGINT, signal.SIG_IGN)"),
         recipe=_WORKERS),
    Case(name="threads_go_on", does="a thread counts for ever, not a daemon", endings=FINE,
         forward="""
         def count():
             while True: time.sleep(0.01)
         if self.calls == 1: threading.Thread(target=count).start()
         """),
    Case(name="thread_raises", does="threads that raise", endings=FINE,
         forward="threading.Thread(target=lambda: 1 / 0).start()"),
]  # fmt: skip
