"""A theorem as a record: statement, domain, formula, the evidence for it and the ways to get it wrong."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from quadlab.theory.intervals import Interval
from quadlab.verify.domain import Domain
from quadlab.verify.formula import parse

__all__ = [
    "ASYMPTOTIC", "IDENTITY", "LIMIT", "LOWER", "TIGHT", "UPPER",
    "Claim", "Derivation", "Inequality", "Statement", "Theorem", "Window",
]  # fmt: skip

IDENTITY, TIGHT, UPPER, LOWER, ASYMPTOTIC, LIMIT = "identity", "tight", "upper", "lower", "asymptotic", "limit"
LARGEST_TOLERANCE = 1e-6
FAR = 1e6


@dataclass(frozen=True)
class Derivation:
    """Steps to read, and residuals: expressions that are zero if and only if the formula is right."""

    steps: tuple[tuple[str, Any], ...]
    residuals: Mapping[str, Any]


@dataclass(frozen=True)
class Statement:
    """A quantified statement: `goal` holds for all real values of its symbols that satisfy the assumptions."""

    name: str
    goal: Any
    assumptions: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Inequality:
    """`function(**balls) > 0` on a closed box; sides named in `logarithmic` are bisected geometrically."""

    name: str
    function: Callable
    box: Mapping[str, tuple[float, float]]
    logarithmic: tuple[str, ...] = ()


@dataclass(frozen=True)
class Window:
    """Where an asymptotic statement is tested: formula/oracle - 1 goes like parameter^order on [low, high]."""

    parameter: str
    low: float
    high: float
    order: float
    tolerance: float = 0.05

    def __post_init__(self):
        if not 0 < self.low < self.high < float("inf"):
            raise ValueError(f"low and high must satisfy 0 < low < high < inf, got {self.low} and {self.high}")
        if not 0 <= self.tolerance < abs(self.order) < float("inf"):
            raise ValueError(
                f"tolerance must lie in [0, |order|), so that an error which does not vanish shows, "
                f"got {self.tolerance} for order {self.order}"
            )


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One assertion about a formula. `kind` says which: equality, one-sided bound, asymptotics.

    Every kind of evidence takes the formula as an argument, so that the same evidence judges the right one, its
    mutants and a user's challenge:
    derivation(formula) -> Derivation; oracle(**point) -> the exact value (for upper and lower claims: the quantity
    that is bounded); simulation: an Equivalence, an EdgeBracket, an ErrorOrder or a Replication;
    certificate(formula) -> Statements; enclosure(formula) -> Inequalities.
    mutants: wrong versions, functions of the same arguments or texts (see `parse`).
    points, tolerance, scale: of the comparison with the oracle; an error counts relative to `scale(**point)`, the size
    of what cancels, or to the oracle's value. reach: how far beyond the typical range of an unbounded argument the
    oracle is asked too; 1 where it cannot follow.
    """

    name: str = "main"
    statement: str = ""
    kind: str
    domain: Domain
    formula: Callable
    derivation: Callable | None = None
    oracle: Callable | None = None
    simulation: Any = None
    certificate: Callable | None = None
    enclosure: Callable | None = None
    mutants: Mapping[str, Any] = field(default_factory=dict)
    points: int = 200
    tolerance: float = 1e-10
    scale: Callable | None = None
    reach: float = FAR
    window: Window | None = None

    def __post_init__(self):
        if self.kind not in (IDENTITY, TIGHT, UPPER, LOWER, ASYMPTOTIC, LIMIT):
            raise ValueError(f"kind must be identity, tight, upper, lower, asymptotic or limit, got {self.kind!r}")
        if (self.kind in (ASYMPTOTIC, LIMIT)) != (self.window is not None):
            raise ValueError(
                f"window must be given for asymptotic and limit claims and only for them, kind is {self.kind}"
            )
        if self.window is not None:
            _check_inside(self.window, self.domain)
        if self.points < 1:
            raise ValueError(f"points must be a whole number >= 1, got {self.points}")
        if not 0 <= self.tolerance <= LARGEST_TOLERANCE:
            raise ValueError(f"tolerance must lie in [0, {LARGEST_TOLERANCE:g}], got {self.tolerance}")
        if not 1 <= self.reach < float("inf"):
            raise ValueError(f"reach must be a number >= 1, got {self.reach}")
        if self.domain and self.domain.is_point():
            raise ValueError(f"domain must hold more than one point, got {self.domain}")
        if not self.mutants:
            raise ValueError("mutants must name at least one wrong version of the formula, got none")
        names = tuple(self.domain)
        mutants = {key: parse(wrong, names) if isinstance(wrong, str) else wrong for key, wrong in self.mutants.items()}
        object.__setattr__(self, "mutants", mutants)
        if not any((self.derivation, self.oracle, self.simulation, self.certificate, self.enclosure)):
            raise ValueError("a claim needs at least one kind of evidence, got none")


def _check_inside(window, domain):
    inside = domain.get(window.parameter)
    if not isinstance(inside, Interval):
        raise ValueError(f"window must be in a numeric argument of the domain, got {window.parameter!r}")
    if window.low < inside.lower or window.high > inside.upper:
        raise ValueError(f"window must lie in {inside}, got {window.parameter} from {window.low} to {window.high}")


@dataclass(frozen=True, kw_only=True)
class Theorem(Claim):
    """A claim with a name, a source, and what surrounds it.

    corollaries : further claims that the same theorem makes. caveats : what it does *not* say.
    on_problem : problem -> simulation of the claim on a real quadratic, through the full-matrix simulator.
    figure : a quadlab.report Figure.
    """

    id: str
    title: str
    source: str
    caveats: tuple[str, ...] = ()
    corollaries: tuple[Claim, ...] = ()
    on_problem: Callable | None = None
    figure: Any = None

    @property
    def claims(self):
        """The main claim and the corollaries."""
        return (self, *self.corollaries)

    def at(self, **point):
        """Formula and oracle at one point, as Evidence with a verdict (OUT_OF_DOMAIN where the theorem is silent)."""
        from quadlab.verify.computed import at_point

        return at_point(self, point)

    def challenge(self, formula, **options):
        """The verdict of this theorem's evidence on another formula; see `quadlab.verify.challenge`."""
        from quadlab.verify.challenge import challenge

        return challenge(self, formula, **options)
