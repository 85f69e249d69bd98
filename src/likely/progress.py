"""What a person sees while a model trains: a bar in a terminal, plain lines elsewhere; always on standard error."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any


def clock(seconds: float) -> str:
    """Return a duration in words as short as they can be.

    Example:
        >>> clock(75), clock(4.2), clock(7300)
        ('1m 15s', '4.2s', '2h 01m')
    """
    if seconds < 60:
        return f"{seconds:.1f}s" if seconds < 10 else f"{seconds:.0f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m {rest:02d}s" if minutes < 60 else f"{minutes // 60}h {minutes % 60:02d}m"


class Progress:
    """Shows how far a loop is.

    Arguments:
        title: what is done ("vae on digits").
        quiet: show nothing.
        every: seconds between plain lines where there is no terminal.
    """

    def __init__(self, title: str, *, quiet: bool = False, every: float = 10.0) -> None:
        self.title, self.quiet, self.every = title, quiet, every
        self.began = self.last = time.monotonic()
        self.bar: Any = None

    def __enter__(self) -> Progress:
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("[bold]{task.description}"), BarColumn(24), TextColumn("{task.fields[text]}"))
            self.bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self.bar.start()
            self.task = self.bar.add_task(self.title, total=1.0, text="")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.bar is not None:
            self.bar.stop()

    def update(self, step: int, done: float, metrics: dict[str, float], speed: float, left: float | None) -> None:
        """Show a step: how much is done (0 to 1), named numbers, rows a second, seconds left where that is known."""
        if self.quiet:
            return
        now = time.monotonic()
        if now - self.last < (0.1 if self.bar is not None else self.every):
            return
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        self.tell(done, f"step {step}  {numbers}  {speed:,.0f} rows/s", left)

    def tell(self, done: float, what: str, left: float | None) -> None:
        """Show how much is done (0 to 1), what is done now, and seconds left where that is known."""
        now = time.monotonic()
        if self.quiet or now - self.last < (0.1 if self.bar is not None else self.every):
            return
        self.last = now
        text = what + ("" if left is None else f"  {clock(left)} left")
        if self.bar is not None:
            self.bar.update(self.task, completed=done, text=text)
        else:
            self.line(text if left is None else f"{100 * done:3.0f} %  {text}")

    def line(self, text: str) -> None:
        """Print a line of its own."""
        if self.quiet:
            return
        if self.bar is not None:
            self.bar.console.print(f"{self.title}: {text}", markup=False, highlight=False)
        else:
            print(f"{self.title}: {text}", file=sys.stderr, flush=True)
