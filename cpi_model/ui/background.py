"""Work beside the page: begun when all else is drawn, left when nobody waits for it any more."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

SETTLED_S = 0.2
"""Time that the browser has to draw before work takes one of the processors."""
LOOK_AGAIN_S = 0.05
"""Between two looks at work that is done, at which a moved slider ends the wait."""

T = TypeVar("T")
Tell = Callable[[float], None]
"""Told what share is done."""


class _Left(Exception):
    """Nobody waits any more."""


@st.cache_resource(show_spinner=False)
def _workers() -> ThreadPoolExecutor:
    """One piece of work at a time."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="background")


class Task(Generic[T]):
    """A piece of work that is begun when it is asked for, and its result kept."""

    def __init__(self, work: Callable[[Tell], T]) -> None:
        self._work = work
        self._future: Future[T] | None = None
        self._unwanted = False
        self.share = 0.0
        """What is done, as far as the work tells."""

    @property
    def done(self) -> bool:
        """Whether its result is known."""
        return self._future is not None and self._future.done() and not self._was_left()

    @property
    def found(self) -> T:
        """Its result; raises what the work raised."""
        assert self._future is not None
        return self._future.result()

    def look(self) -> bool:
        """Begin it if nobody has, and wait a moment; whether it is done."""
        self._unwanted = False
        if self._future is None or self._was_left():
            self._future = _workers().submit(self._work, self._tell)
        wait([self._future], timeout=LOOK_AGAIN_S)
        return self.done

    def leave(self) -> None:
        """Do not begin it, or end it where it tells how far it is."""
        self._unwanted = True
        if self._future is not None and self._future.cancel():
            self._future = None

    def _tell(self, share: float) -> None:
        if self._unwanted:
            raise _Left
        self.share = share

    def _was_left(self) -> bool:
        future = self._future
        return future is not None and future.done() and isinstance(future.exception(), _Left)


@dataclass(frozen=True)
class Awaited:
    """Work whose result is awaited, and how it is shown."""

    task: Task[Any]
    show: Callable[[], None]
    """Draws the result in its place."""
    bar: DeltaGenerator | None = None
    """Where a bar shows how far it is."""


def instead(name: str, *tasks: Task[Any]) -> None:
    """Leave what this session awaited under a name, unless it is among these."""
    before: tuple[Task[Any], ...] = st.session_state.get(name, ())
    for each in before:
        if each not in tasks:
            each.leave()
    st.session_state[name] = tasks


def refine(*awaited: Awaited | None) -> None:
    """Put results in their places as soon as they are there. The last call of a page.

    They are looked for over and over, so that a moved slider can end the wait at any time.
    """
    wanted = [each for each in awaited if each is not None]
    if not wanted:
        return
    turn = st.empty()
    settled = time.monotonic() + SETTLED_S
    while time.monotonic() < settled:
        time.sleep(LOOK_AGAIN_S)
        turn.empty()
    for each in wanted:
        while not each.task.look():
            turn.empty()
            if each.bar is not None:
                each.bar.progress(min(each.task.share, 1.0))
        each.show()
