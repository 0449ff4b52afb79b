"""Memory, file descriptors and threads run out, each under a limit that the recipe sets itself."""

from tests.torture.case import Case, Ending

TOLD = (Ending.TOLD,)

CASES = [
    Case(name="memory", does="allocates until a limit of 1 GB more is reached", endings=(Ending.TOLD, Ending.DIED),
         poisons=True,
         forward="""
         used = int(open('/proc/self/statm').read().split()[0]) * 4096
         resource.setrlimit(resource.RLIMIT_AS, (used + 10**9, used + 10**9))
         held = []
         while True: held.append(bytearray(10**8))
         """),
    Case(name="tensor_too_large", does="asks for a tensor of 2**60 elements", endings=TOLD, forward="torch.empty(2**60)"),
    Case(name="descriptors", does="opens files until there are no descriptors left", endings=(Ending.TOLD, Ending.FINE),
         poisons=True,
         forward="""
         resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
         HELD.extend(open('/dev/null') for _ in range(1000))
         """, top="HELD = []"),
    Case(name="threads", does="starts 300 threads that sleep", endings=(Ending.FINE, Ending.TOLD),
         forward="""
         for _ in range(300 if self.calls == 1 else 0):
             threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
         """),
]  # fmt: skip
