"""The process ends, or tries to."""

from tests.torture.case import Case, Ending

TOLD, DIED = (Ending.TOLD,), (Ending.DIED,)

CASES = [
    Case(name="exit_at_import", does="sys.exit at module level", endings=TOLD, says="sys.exit(3)", top="sys.exit(3)"),
    Case(name="exit_in_forward", does="sys.exit with a text in forward", endings=TOLD, says="bye",
         forward="sys.exit('bye')"),
    Case(name="exit_in_backward", does="sys.exit in a gradient hook", endings=TOLD, says="sys.exit",
         forward="x = self.linear(x); x.register_hook(lambda g: sys.exit('hook')); return x"),
    Case(name="os_exit", does="os._exit(5) at the third forward", endings=DIED, says="exit code 5",
         forward="if self.calls == 3: os._exit(5)"),
    Case(name="os_exit_at_import", does="os._exit(0) while the file is imported", endings=DIED, top="os._exit(0)"),
    Case(name="abort", does="os.abort()", endings=DIED, says="SIGABRT", forward="os.abort()"),
    Case(name="segfault", does="reads address 0", endings=DIED, says="SIGSEGV", forward="ctypes.string_at(0)"),
    Case(name="stack_overflow", does="recursion without Python's limit", endings=(Ending.DIED, Ending.TOLD),
         forward="""
         sys.setrecursionlimit(10**9)
         def f(o): return f.__call__(o)
         f(1)
         """),
    Case(name="kill_own_group", does="kills its own process group", endings=DIED, says="SIGKILL",
         forward="os.killpg(0, 9)"),
    Case(name="thread_exits", does="another thread calls os._exit", endings=DIED, says="exit code 7",
         forward="threading.Timer(0.2, os._exit, (7,)).start(); time.sleep(1)"),
]  # fmt: skip
