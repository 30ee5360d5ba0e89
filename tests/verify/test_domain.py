"""Domains check points, draw them and print themselves."""

import numpy as np
import pytest

from quadlab.theory.intervals import momentum_range, positive, whole_positive
from quadlab.verify import Directions, Domain, SymmetricMatrix

STABLE = Domain("learning_rate * eigenvalue < 2", learning_rate=positive, eigenvalue=positive, samples=whole_positive)


def test_drawn_points_lie_in_the_domain():
    points = STABLE.draw(np.random.default_rng(0), 300)
    assert len(points) == 300
    assert all(STABLE.contains(point) for point in points)
    assert all(point["samples"] == int(point["samples"]) for point in points)
    products = [point["learning_rate"] * point["eigenvalue"] for point in points]
    assert max(products) < 2
    assert min(products) < 1e-3


def test_directions_of_one_point_have_one_length():
    domain = Domain(eigenvalues=Directions(positive), gradient=Directions(positive, 1, 1), learning_rate=positive)
    points = domain.draw(np.random.default_rng(1), 50)
    assert {len(point["eigenvalues"]) for point in points} == {1, 2, 3, 4, 5}
    assert all(len(point["eigenvalues"]) == len(point["gradient"]) for point in points)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"learning_rate": 0.1, "eigenvalue": 1.0}, "a point must give learning_rate, eigenvalue, samples, got"),
        ({"learning_rate": 0.1, "eigenvalue": 1.0, "samples": 1, "rate": 2}, "a point must give"),
        ({"learning_rate": 0.1, "eigenvalue": -1.0, "samples": 1}, "eigenvalue must be positive and finite, got -1"),
        ({"learning_rate": 0.1, "eigenvalue": 30.0, "samples": 1}, r"must satisfy learning_rate \* eigenvalue < 2"),
    ],
)
def test_bad_points_are_refused(point, message):
    with pytest.raises(ValueError, match=message):
        STABLE.check(point)


def test_relations_hold_for_every_direction():
    domain = Domain("learning_rate * eigenvalues < 2", learning_rate=positive, eigenvalues=Directions(positive))
    assert domain.contains({"learning_rate": 1.0, "eigenvalues": [0.5, 1.9]})
    assert not domain.contains({"learning_rate": 1.0, "eigenvalues": [0.5, 2.1]})


def test_a_relation_that_is_never_met_is_reported():
    with pytest.raises(ValueError, match="fewer than one in 1000"):
        Domain("momentum > 2", momentum=momentum_range).draw(np.random.default_rng(0), 3)


def test_a_relation_on_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="'rate'"):
        Domain("rate < 2", learning_rate=positive)


def test_it_prints_intervals_and_relations():
    assert str(STABLE) == (
        "learning_rate in (0, inf); eigenvalue in (0, inf); samples in whole numbers in [1, inf);"
        " learning_rate * eigenvalue < 2"
    )


def test_directions_that_differ_in_length_are_refused():
    domain = Domain(eigenvalues=Directions(positive), gradient=Directions(positive), learning_rate=positive)
    assert domain.contains({"eigenvalues": [1.0, 2.0], "gradient": 3.0, "learning_rate": 0.1})
    for gradient in ([1.0, 2.0, 3.0], [[1.0, 2.0]]):
        with pytest.raises(ValueError, match="numbers or vectors of one length"):
            domain.check({"eigenvalues": [1.0, 2.0], "gradient": gradient, "learning_rate": 0.1})


def test_matrices_are_drawn_symmetric_with_eigenvalues_in_the_interval():
    matrices = SymmetricMatrix(positive.between(1, 2), 3)
    rng = np.random.default_rng(0)
    for _ in range(20):
        matrix = matrices.draw(rng)
        values = np.linalg.eigvalsh(matrices.check("hessian", matrix))
        assert values.min() >= 1 - 1e-12
        assert values.max() <= 2 + 1e-12


@pytest.mark.parametrize("value", [[[1.0, 0.5], [0.0, 1.0]], np.eye(3), 1.0])
def test_what_is_no_symmetric_matrix_of_the_size_is_refused(value):
    with pytest.raises(ValueError, match="hessian must be a symmetric 2 x 2 matrix"):
        SymmetricMatrix(positive, 2).check("hessian", value)


def test_text_is_no_matrix():
    with pytest.raises(ValueError, match="hessian must be finite, got 'eye'"):
        SymmetricMatrix(positive, 2).check("hessian", "eye")
