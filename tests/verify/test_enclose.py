"""Strict inequalities on boxes: true ones are proved, false ones refuted by a point, touching ones left open."""

from fractions import Fraction

import flint
import numpy as np
import pytest
import sympy
from scipy.stats import norm

from quadlab.theory.elementary import erf, log, sqrt
from quadlab.verify.enclose import enclose_positive
from quadlab.verify.formula import parse


def edge_descent_probability(k):
    """Phi(k) + Phi(1/k) - 1, written with erf."""
    return (erf(k / sqrt(2 + 0 * k)) + erf(1 / (k * sqrt(2 + 0 * k)))) / 2


def test_a_step_on_the_edge_descends_more_often_than_not():
    result = enclose_positive(lambda k: edge_descent_probability(k) - 0.5, {"k": (0.05, 20)}, logarithmic=("k",))
    assert result.proved is True
    points = np.geomspace(0.05, 20, 1001)
    assert 0 <= result.smallest <= (norm.cdf(points) + norm.cdf(1 / points) - 1.5).min()


def test_the_false_variant_has_a_witness():
    result = enclose_positive(lambda k: edge_descent_probability(k) - 0.55, {"k": (0.05, 20)})
    assert result.proved is False
    k = result.witness["k"]
    assert 0.05 <= k <= 20
    assert norm.cdf(k) + norm.cdf(1 / k) - 1 < 0.55


def test_several_sides_and_a_narrow_violation():
    bowl = parse("(x - 0.3)**2 + (y + 0.7)**2 + 0.0001", ["x", "y"])
    box = {"x": (-1, 1), "y": (-1, 1)}
    assert enclose_positive(bowl, box).proved is True
    result = enclose_positive(lambda x, y: bowl(x=x, y=y) - 2 * flint.arb("1e-4"), box)
    assert result.proved is False
    assert (result.witness["x"] - 0.3) ** 2 + (result.witness["y"] + 0.7) ** 2 <= 1e-4 + 1e-12


def test_a_touching_minimum_is_left_open():
    result = enclose_positive(lambda x: (x - flint.fmpq(1, 3)) ** 2, {"x": (0, 1)}, max_boxes=200)
    assert result.proved is None
    assert result.boxes == 200
    assert result.smallest == -np.inf
    assert "0.33" in result.reason


def test_a_hard_region_does_not_hide_a_violation():
    touching, negative = flint.fmpq(2, 3), flint.fmpq(1, 10)

    def function(x):
        return (x - touching) ** 2 * ((x - negative) ** 2 - flint.fmpq(1, 10**6))

    result = enclose_positive(function, {"x": (0, 1)}, max_boxes=300)
    assert result.proved is False
    assert abs(result.witness["x"] - 0.1) <= 1e-3


def test_a_violation_at_a_corner_only():
    assert enclose_positive(lambda x: x, {"x": (0, 1)}).witness == {"x": 0.0}
    assert enclose_positive(lambda x, y: x + y, {"x": (0, 1), "y": (-1, 0)}).proved is False
    assert enclose_positive(lambda x: 1 - x, {"x": (0, 1)}).witness == {"x": 1.0}


def test_the_closed_interval_is_covered_to_its_ends():
    third = Fraction(1, 3)
    seen = []
    enclose_positive(lambda x: seen.append(x) or x, {"x": (third, 2)})
    assert any(ball.contains(flint.fmpq(1, 3)) and ball.contains(2) for ball in seen)
    # Positive on every double in the box, zero at its exact end.
    result = enclose_positive(lambda x: 1 - 3 * x, {"x": (0, third)}, max_boxes=50)
    assert result.proved is not True
    assert enclose_positive(lambda x: 1 - x, {"x": (0, sympy.Rational(99, 100))}).proved is True


def test_a_degenerate_box_is_a_point():
    assert enclose_positive(lambda x: x - 1, {"x": (2, 2)}).proved is True
    assert enclose_positive(lambda x: x - 2, {"x": (2, 2)}).proved is False
    assert enclose_positive(lambda x, y: x * y + 1, {"x": (2, 2), "y": (-0.4, 1)}).proved is True
    result = enclose_positive(lambda x: 3 * x - 1, {"x": (Fraction(1, 3), Fraction(1, 3))})
    assert result.proved is None
    assert "halved" in result.reason


def test_trouble_on_wide_balls_is_bisected_away():
    # On the whole box the denominator, and the argument of the logarithm, are balls around zero.
    assert enclose_positive(lambda x: 1 / (x * x - x + 1), {"x": (-10, 10)}).proved is True
    assert enclose_positive(lambda x: log(x * x - x + 2), {"x": (-10, 10)}).proved is True
    clipped = parse("where(x < 1, 2 - x, x)", ["x"])
    result = enclose_positive(clipped, {"x": (0, 3)}, max_boxes=100)
    assert result.proved is None
    assert "overlap" in result.reason
    assert enclose_positive(clipped, {"x": (0, Fraction(9, 10))}).proved is True


def test_mistakes_in_the_function_are_not_swallowed():
    with pytest.raises(TypeError):
        enclose_positive(lambda x: x + "1", {"x": (0, 1)})
    with pytest.raises(TypeError):
        enclose_positive(lambda y: y, {"x": (0, 1)})


@pytest.mark.parametrize("lost", [lambda x: 2.0, lambda x: np.float64(1), lambda x: True + 0j, lambda x: "1"])
def test_what_is_no_ball_encloses_nothing(lost):
    with pytest.raises(TypeError, match="must return an Arb ball, got"):
        enclose_positive(lost, {"x": (1, 2)})
    assert enclose_positive(lambda x: flint.fmpq(1, 3), {"x": (1, 2)}).proved is True


def test_logarithmic_sides_need_fewer_boxes():
    def dips_at_one(x):
        return x + 1 / x - 1.9

    wide = {"x": (1e-30, 1e20)}
    geometric = enclose_positive(dips_at_one, wide, logarithmic=("x",))
    plain = enclose_positive(dips_at_one, wide)
    assert geometric.proved is plain.proved is True
    assert 2 * geometric.boxes < plain.boxes
    assert max(geometric.smallest, plain.smallest) <= 0.1


def test_precision_is_set_inside_and_restored():
    before = flint.ctx.prec
    seen = set()
    enclose_positive(lambda x: seen.add(flint.ctx.prec) or x, {"x": (1, 2)}, precision=211)
    assert seen == {211}
    with pytest.raises(KeyError):
        enclose_positive(lambda x: {}[x], {"x": (1, 2)}, precision=211)
    assert flint.ctx.prec == before
    # 1e-40 is invisible at 53 bits: a ball of that size around 1 - 1 straddles zero.
    tiny = flint.fmpq(1, 10**40)
    assert enclose_positive(lambda x: (x + tiny) - x, {"x": (3, 3)}, precision=53).proved is None
    assert enclose_positive(lambda x: (x + tiny) - x, {"x": (3, 3)}, precision=200).proved is True


@pytest.mark.parametrize(
    ("box", "options", "message"),
    [
        ({"x": (1, 0)}, {}, "low to high"),
        ({"x": (0, 1)}, {"logarithmic": ("x",)}, "positive"),
        ({"x": (0, 1)}, {"logarithmic": ("y",)}, "not sides"),
        ({"x": (0, np.inf)}, {}, "finite"),
        ({"x": (np.nan, 1)}, {}, "finite"),
        ({"x": (0, 10**400)}, {}, "finite"),
        ({"x": (0, 1)}, {"max_boxes": 0}, "max_boxes"),
        ({}, {}, "side"),
    ],
)
def test_bad_boxes(box, options, message):
    with pytest.raises(ValueError, match=message):
        enclose_positive(lambda x: x + 1, box, **options)
