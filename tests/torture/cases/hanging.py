"""Nothing comes back. A person presses Interrupt, or ends the engine."""

from tests.torture.case import Case, Ending

STOPPED = (Ending.STOPPED,)
_LOCK = """
lock = threading.Lock(); lock.acquire()
class Data(Dataset):
    def __len__(self): return 24
    def __getitem__(self, i):
        lock.acquire()
"""

CASES = [
    Case(name="busy", does="while True: pass", endings=STOPPED, forward="while True: pass"),
    Case(name="busy_at_import", does="the same while the file is imported", endings=STOPPED, top="while True: pass"),
    Case(name="swallows", does="hangs and swallows whatever is raised in it", endings=STOPPED,
         forward="""
         while True:
             try: time.sleep(1)
             except BaseException: pass
         """),
    Case(name="sleeps", does="sleeps in C without Python's lock", endings=STOPPED, forward="ctypes.CDLL(None).sleep(1000)"),
    Case(name="holds_gil", does="sleeps in C with Python's lock held", endings=STOPPED,
         forward="ctypes.PyDLL(None).sleep(1000)"),
    Case(name="deadlock", does="waits for a lock that nobody lets go", endings=STOPPED,
         forward="lock = threading.Lock(); lock.acquire(); lock.acquire()"),
    Case(name="worker_deadlock", does="a worker of the DataLoader waits for a lock for ever", endings=STOPPED, top=_LOCK,
         recipe="fields['dataset'] = DataLoader(Data(), 4, num_workers=1)"),
    Case(name="input", does="waits for the keyboard", endings=(Ending.STOPPED, Ending.TOLD), forward="input('name? ')"),
    Case(name="len_hangs", does="__len__ never returns", endings=STOPPED,
         top="class Data(Dataset):\n    def __len__(self):\n        while True: pass\n    def __getitem__(self, i): return i",
         recipe="fields['dataset'] = Data()"),
    Case(name="str_hangs", does="the exception's __str__ never returns", endings=STOPPED,
         top="class Odd(Exception):\n    def __str__(self):\n        while True: pass", forward="raise Odd"),
]  # fmt: skip
