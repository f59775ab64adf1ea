"""How much of a difference is whose: changes one after the other, or the mean over all orders.

A change has a name; a function tells the cost with some of the changes made, many such sets in one
call, and NaN where a set cannot be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

Costs: TypeAlias = Callable[[Sequence[frozenset[str]]], Sequence[float]]

MOST_TOGETHER = 10
"""Changes of which every subset is estimated."""
MOST_JOINED = 3
"""Changes that are tried together before all that are left are made at once."""


@dataclass(frozen=True)
class Part:
    """What one change adds to the cost, or several that are possible together only."""

    names: tuple[str, ...]
    change: float


def in_order(names: Sequence[str], costs: Costs) -> tuple[Part, ...]:
    """Changes made one after the other; the parts add up to the whole difference.

    Where a change alone leads to what cannot be, the fewest others that make it possible are made
    with it, those that come soonest first.

    >>> def costs(sets):
    ...     return [10.0 + 2.0 * ("a" in s) - 5.0 * ("b" in s) for s in sets]
    >>> in_order(["a", "b"], costs)
    (Part(names=('a',), change=2.0), Part(names=('b',), change=-5.0))
    """
    now, left, made, parts = costs([frozenset()])[0], list(names), frozenset[str](), list[Part]()
    while left:
        first, others = left[0], left[1:]
        sizes = [*range(min(MOST_JOINED, len(left))), len(others)]
        for size in sizes:
            tried = [(first, *more) for more in combinations(others, size)]
            found = costs([made.union(each) for each in tried])
            works = [at for at, cost in enumerate(found) if not math.isnan(cost)]
            if works or size == len(others):
                place = works[0] if works else 0
                break
        together, cost = tried[place], found[place]
        parts.append(Part(together, cost - now))
        now, made = cost, made.union(together)
        left = [name for name in left if name not in together]
    return tuple(parts)


def shapley(names: Sequence[str], costs: Costs) -> dict[str, float]:
    """Part of each change as the mean over all orders in which the changes could be made.

    A set that cannot be costs what the largest part of it costs that can.

    Raises
    ------
    ValueError
        If there are more than :data:`MOST_TOGETHER` changes.

    References
    ----------
    .. [1] L. S. Shapley, "A Value for n-Person Games", 1953.

    Examples
    --------
    >>> def together(sets):
    ...     return [100.0 - 40.0 * (len(s) == 2) for s in sets]
    >>> shapley(["a", "b"], together)
    {'a': -20.0, 'b': -20.0}
    """
    if len(names) > MOST_TOGETHER:
        raise ValueError(f"{len(names)} changes are too many: at most {MOST_TOGETHER}.")
    subsets = [
        frozenset(chosen) for size in range(len(names) + 1) for chosen in combinations(names, size)
    ]
    found: dict[frozenset[str], float] = {}
    for subset, cost in zip(subsets, costs(subsets), strict=True):
        if math.isnan(cost):
            parts = (found[subset - {name}] for name in subset)
            cost = next((each for each in parts if not math.isnan(each)), math.nan)
        found[subset] = cost
    count = len(names)
    return {
        name: sum(
            math.factorial(len(subset)) * math.factorial(count - len(subset) - 1)
            / math.factorial(count) * (found[subset | {name}] - cost)
            for subset, cost in found.items() if name not in subset
        )
        for name in names
    }  # fmt: skip
