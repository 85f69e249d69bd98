"""How far a long measurement is, and how many seconds are left: stages of known work, at speeds learnt on the way.

left = sum over stages of what is left of their work / the speed of their kind. The speed is that of the work of this
kind done so far, else the planned one times how much faster or slower everything went. It fails where work of a kind
that has not begun costs something else than planned; the first stages say little of the last ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

#: is told the share done (0 to 1), what is done now, and the seconds left, None while nothing is known
Tell = Callable[[float, str, float | None], None]


LATE = 0.99  #: the share that is told until the end, however much more than planned there is to do


@dataclass
class Stage:
    """A piece of work.

    Arguments:
        title: what is done, for people.
        kind: stages of one kind go at one speed.
        seconds: how long it takes by plan.
    """

    title: str
    kind: str
    seconds: float
    done: float = 0.0  #: share of it that is done
    took: float = 0.0  #: seconds spent on it so far


class Pace:
    """The stages of a measurement, in their order.

    Arguments:
        tell: is told how it goes; None tells nobody.
        least: the share that must be done before the seconds left are told: early on, plans are all there is.

    Example:
        >>> said = []
        >>> pace = Pace(lambda done, what, left: said.append((done, what)))
        >>> pace.plan([Stage("one", "read", 1.0), Stage("two", "read", 3.0)])
        >>> pace.begin("one"); pace.at(0.5); pace.begin("two"); pace.end()
        >>> said
        [(0.0, 'one'), (0.125, 'one'), (0.25, 'two'), (1.0, 'two')]
    """

    def __init__(self, tell: Tell | None = None, *, least: float = 0.0) -> None:
        self.tell, self.least = tell, least
        self.stages: list[Stage] = []
        self.now: Stage | None = None
        self.began = 0.0

    def plan(self, stages: list[Stage]) -> None:
        """Add stages that are to come."""
        self.stages += stages

    def begin(self, title: str) -> None:
        """Say that the first stage of this title that is not done begins, and what ran before is done."""
        self._settle(1.0)
        self.now = next(stage for stage in self.stages if stage.title == title and stage.done < 1)
        self.began = time.monotonic()
        self.at(0.0)

    def at(self, done: float) -> None:
        """Say which share of the stage is done."""
        self._settle(done)
        total = sum(stage.seconds for stage in self.stages)
        if self.tell is not None and self.now is not None:
            share = sum(stage.seconds * stage.done for stage in self.stages) / total if total else 1.0
            late = all(stage.done >= 1 for stage in self.stages)  # all that was planned is done, and it goes on
            self.tell(min(share, LATE), self.now.title, self.left() if share >= self.least and not late else None)

    def end(self) -> None:
        """Say that all is done."""
        for stage in self.stages:
            stage.done = 1.0
        self._settle(1.0)
        if self.tell is not None and self.now is not None:
            self.tell(1.0, self.now.title, 0.0)

    def left(self) -> float | None:
        """Return the seconds left, or None while nothing is known."""
        everything = self._slowness([stage for stage in self.stages if stage.done])
        if everything is None:
            return None
        left = 0.0
        for stage in self.stages:
            own = self._slowness([one for one in self.stages if one.kind == stage.kind and one.done])
            left += (1 - stage.done) * stage.seconds * (everything if own is None else own)
        return left

    def _settle(self, done: float) -> None:
        if self.now is not None:
            self.now.done = max(self.now.done, min(done, 1.0))
            self.now.took = time.monotonic() - self.began

    @staticmethod
    def _slowness(stages: list[Stage]) -> float | None:
        """Return the seconds that stages took for each second planned."""
        planned = sum(stage.seconds * stage.done for stage in stages)
        return sum(stage.took for stage in stages) / planned if planned > 0 else None
