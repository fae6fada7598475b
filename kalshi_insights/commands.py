"""How far a command is, for the person who waits for it."""

import time
from typing import TextIO

DRAW_EVERY = 0.1
SAY_EVERY = 5.0
WIDTH = 30


class Bar:
    """A line that is drawn again on a terminal, and one written now and then elsewhere."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.live = out.isatty()
        self.due = time.monotonic() + (0 if self.live else SAY_EVERY)

    def tell(self, share: float, doing: str) -> None:
        now = time.monotonic()
        if now < self.due:
            return
        self.due = now + (DRAW_EVERY if self.live else SAY_EVERY)
        if self.live:
            full = round(share * WIDTH)
            bar = "#" * full + "." * (WIDTH - full)
            self.out.write(f"\r[{bar}] {share:4.0%} {doing}\x1b[K")
            self.out.flush()
        else:
            self.out.write(f"{share:4.0%} {doing}\n")

    def end(self) -> None:
        if self.live:
            self.out.write("\r\x1b[K")
            self.out.flush()
