"""Output that is much, odd, or has nowhere to go."""

from tests.torture.case import Case, Ending

FINE, EITHER = (Ending.FINE,), (Ending.FINE, Ending.TOLD)

CASES = [
    Case(name="megabytes", does="20 MB without a newline in each of three forwards", endings=FINE,
         forward="if self.calls < 4: sys.stdout.write('x' * 20_000_000)"),
    Case(name="many_lines", does="200,000 lines", endings=FINE,
         forward="if self.calls == 1: print('\\n'.join(map(str, range(200_000))))"),
    Case(name="binary", does="bytes that are no text, and terminal codes", endings=FINE,
         forward="os.write(1, bytes(range(256)) * 100); os.write(2, b'\\x1b[2J\\xff\\xfe')"),
    Case(name="closes_stdout", does="closes sys.stdout and sys.stderr", endings=EITHER,
         forward="sys.stdout.close(); sys.stderr.close()"),
    Case(name="closes_fds", does="closes the descriptors 1 and 2", endings=EITHER,
         forward="if self.calls == 1: os.close(1); os.close(2)"),
    Case(name="stdout_is_none", does="sys.stdout and sys.stderr are None, then objects that raise", endings=EITHER,
         forward="""
         class Bad:
             def write(self, text): raise RuntimeError('no output')
             flush = write
         sys.stdout = sys.stderr = None if self.calls % 2 else Bad()
         """),
    Case(name="prints_surrogates", does="prints a lone surrogate", endings=EITHER, forward=r"print('\udcff')"),
]  # fmt: skip
