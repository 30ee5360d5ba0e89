"""Where a theorem holds: named intervals and relations between them, as one object."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from quadlab.theory.intervals import Interval, real
from quadlab.verify.formula import parse

__all__ = ["Directions", "Domain", "SymmetricMatrix"]


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
        lengths = [entry for entry in self.intervals.values() if isinstance(entry, Directions)]
        for _ in range(1000 * count):
            if len(points) == count:
                return points
            length = int(rng.integers(lengths[0].least, lengths[0].most, endpoint=True)) if lengths else 0
            point = {
                name: entry.interval.draw(rng, length) if isinstance(entry, Directions) else entry.draw(rng)
                for name, entry in self.intervals.items()
            }
            if not self.relations or self.contains(point):
                points.append(point)
        raise ValueError(f"fewer than one in 1000 drawn points satisfies {', '.join(r.text for r in self.relations)}")
