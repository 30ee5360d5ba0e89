"""Where a theorem holds: named intervals and relations between them, as one object."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from quadlab.theory.intervals import Interval, real
from quadlab.verify.formula import parse

__all__ = ["Directions", "Domain", "SymmetricMatrix"]

MOST_REFUSED = 1000  # draws for one point, on average


@dataclass(frozen=True)
class Directions:
    """One value for each eigendirection; all such arguments of a domain have the same length, `least` to `most`."""

    interval: Interval
    least: int = 1
    most: int = 5

    def __str__(self):
        return f"{self.interval} for each direction"

    def check(self, name, value):
        return self.interval.check(name, value)


@dataclass(frozen=True)
class SymmetricMatrix:
    """A symmetric matrix of a given size, with eigenvalues in an interval; drawn with a random eigenbasis.

    >>> from quadlab.theory.intervals import positive
    >>> SymmetricMatrix(positive, 2).check("hessian", [[1.0, 2.0], [2.0, 1.0]])
    Traceback (most recent call last):
    ...
    ValueError: eigenvalues of hessian must be positive and finite, got -1.0
    """

    interval: Interval
    size: int

    def __str__(self):
        return f"symmetric {self.size} x {self.size} matrices with eigenvalues in {self.interval}"

    def check(self, name, value):
        matrix = real.check(name, value)
        if matrix.shape != (self.size, self.size) or not np.allclose(matrix, matrix.T):
            raise ValueError(f"{name} must be a symmetric {self.size} x {self.size} matrix, got {value!r}")
        self.interval.check(f"eigenvalues of {name}", np.linalg.eigvalsh(matrix).round(12))
        return matrix

    def draw(self, rng):
        basis = np.linalg.qr(rng.standard_normal((self.size, self.size))).Q
        matrix = (basis * self.interval.draw(rng, self.size)) @ basis.T
        return (matrix + matrix.T) / 2


class Domain(Mapping):
    """Intervals of the arguments of a formula, and relations between them as text.

    >>> from quadlab.theory.intervals import positive
    >>> domain = Domain("learning_rate * eigenvalue < 2", learning_rate=positive, eigenvalue=positive)
    >>> domain.contains({"learning_rate": 0.1, "eigenvalue": 30.0})
    False
    """

    def __init__(self, *relations, **intervals):
        self.intervals = intervals
        self.relations = tuple(parse(text, tuple(intervals)) for text in relations)

    def __getitem__(self, name):
        return self.intervals[name]

    def __iter__(self):
        return iter(self.intervals)

    def __len__(self):
        return len(self.intervals)

    def __str__(self):
        return "; ".join(
            [f"{name} in {interval}" for name, interval in self.intervals.items()]
            + [relation.text for relation in self.relations]
        )

    def is_point(self):
        """Whether every argument has one value only, or is drawn with one value only."""
        sides = [(entry.lower, entry.upper) for entry in map(_interval, self.intervals.values()) if entry is not None]
        drawn = [entry.typical for entry in map(_interval, self.intervals.values()) if entry is not None]
        alone = len(sides) == len(self.intervals)
        return alone and any(all(low == high for low, high in pairs) for pairs in (sides, drawn))

    def check(self, point):
        """Return the point with its values checked; ValueError names the argument or the relation that fails."""
        missing, unknown = sorted(set(self) - set(point)), sorted(set(point) - set(self))
        if missing or unknown:
            raise ValueError(
                f"a point must give {', '.join(self)}" + (f", got {', '.join(point)}" if point else ", got none")
            )
        checked = {name: interval.check(name, point[name]) for name, interval in self.intervals.items()}
        shapes = {np.shape(checked[name]) for name, entry in self.intervals.items() if isinstance(entry, Directions)}
        if len(shapes - {()}) > 1 or any(len(shape) > 1 for shape in shapes):
            raise ValueError(f"all directions of a point must be numbers or vectors of one length, got shapes {shapes}")
        for relation in self.relations:
            if not np.all(relation(**{name: checked[name] for name in relation.names})):
                raise ValueError(f"the point must satisfy {relation.text}, got {point}")
        return checked

    def contains(self, point):
        """Whether the point lies in the domain."""
        try:
            self.check(point)
        except ValueError:
            return False
        return True

    def draw(self, rng, count):
        """`count` random points of the domain, as dicts; points that violate a relation are drawn again."""
        points: list[dict] = []
        refused = 0
        while len(points) < count:
            point = self._point(rng, _typical)
            if not self.relations or self.contains(point):
                points.append(point)
                continue
            refused += 1
            if refused > MOST_REFUSED * (1 + len(points)):
                texts = ", ".join(relation.text for relation in self.relations)
                raise ValueError(f"fewer than one in {MOST_REFUSED} drawn points satisfies {texts}")
        return points

    def draw_far(self, rng, count, reach):
        """At most `count` points with an argument at a closed end or up to `reach` times beyond its typical range.

        Fewer, where the relations admit few such points, and none where no argument has such an end.
        """
        able = [name for name, entry in self.intervals.items() if _ends(_interval(entry), reach)]

        def far_point():
            # mostly one argument alone: relations, and what an oracle can follow, admit that more often
            alone = able[rng.integers(len(able))]
            chosen = {alone} if rng.random() < 0.7 else {alone, *(name for name in able if rng.random() < 0.5)}

            def value(name, entry, rng, length):
                return _far(entry, rng, length, reach) if name in chosen else _typical(name, entry, rng, length)

            return self._point(rng, value)

        # rounding may carry a value onto an open end
        drawn = (far_point() for _ in range(50 * count if able else 0))
        return list(itertools.islice((point for point in drawn if self.contains(point)), count))

    def _point(self, rng, value):
        lengths = [entry for entry in self.intervals.values() if isinstance(entry, Directions)]
        length = int(rng.integers(lengths[0].least, lengths[0].most, endpoint=True)) if lengths else 0
        return {name: value(name, entry, rng, length) for name, entry in self.intervals.items()}


def _interval(entry):
    """The interval of an entry whose values may be drawn one by one; None for a matrix."""
    return entry.interval if isinstance(entry, Directions) else entry if isinstance(entry, Interval) else None


def _typical(name, entry, rng, length):
    return entry.interval.draw(rng, length) if isinstance(entry, Directions) else entry.draw(rng)


def _far(entry, rng, length, reach):
    interval = _interval(entry)
    ends = _ends(interval, reach)
    draws = [ends[rng.integers(len(ends))](rng) for _ in range(length if isinstance(entry, Directions) else 1)]
    return np.array(draws) if isinstance(entry, Directions) else draws[0]


def _ends(interval, reach):
    """Ways to draw a value at each end of an interval: closed ends themselves, and beyond the typical range."""
    if interval is None:
        return []
    (low, high), whole = interval.typical, interval.whole
    ends: list[Callable] = []
    for end, inner, closed, sign in (
        (interval.lower, low, interval.lower_closed, -1),
        (interval.upper, high, interval.upper_closed, 1),
    ):
        if np.isinf(end):
            # whole numbers count what an oracle has to build or enumerate
            if reach > 1 and not whole:
                ends.append(partial(_beyond, sign * max(sign * inner, 1.0), reach))
            continue
        if closed:
            ends.append(partial(_at, float(end)))
        if reach > 1 and not whole:
            ends.append(partial(_towards, float(end), (inner - end) or -sign * 1e-3 * (high - low), reach))
    return ends


def _at(end, rng):
    return end


def _beyond(size, reach, rng):
    return size * reach ** rng.uniform()


def _towards(end, gap, reach, rng):
    return end + gap / reach ** rng.uniform()
