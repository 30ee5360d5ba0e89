"""What is recorded is what the problem says at the iterates, at the steps asked for."""

import re

import numpy as np
import pytest
from training_problems import classifier, quadratic

from quadlab.bridge import Problem
from quadlab.bridge.spectra import preconditioned, top_eigenpairs
from quadlab.bridge.training import (
    History,
    Recorder,
    TrainingDiverged,
    gradient_descent,
    ivon,
    train,
    variational_gradient_descent,
)

START = classifier().network.initial(1)
KEEP = {"iterate": lambda problem, parameters: parameters}
ROUNDING = 500 * np.finfo(float).eps


def history_of(recorder, steps=6, rule=None, problem=None):
    return train(problem or classifier(), rule or gradient_descent(0.4), START, steps, rng=0, recorder=recorder).history


@pytest.mark.parametrize("rule", [gradient_descent(0.4, 0.5), variational_gradient_descent(0.4, 0.01)], ids=str)
def test_numbers_are_the_problems_at_the_iterates(rule):
    problem, test = classifier(), classifier(seed=4)
    history = history_of(Recorder(test=test, extra=KEEP), rule=rule)
    path = history["iterate"].values
    gradients = np.array([problem.gradient(w) for w in path])
    expected = {
        "loss": [problem.loss(w) for w in path],
        "gradient_norm_squared": (gradients**2).sum(axis=1),
        "regularizer": (gradients**2).sum(axis=1) / 31,
        "displacement": np.linalg.norm(path - START, axis=1),
        "accuracy": [np.mean(problem.predict(w).argmax(1) == problem.targets.argmax(1)) for w in path],
        "test_loss": [test.loss(w) for w in path],
        "test_accuracy": [np.mean(test.predict(w).argmax(1) == test.targets.argmax(1)) for w in path],
    }
    assert set(history) == {*expected, "iterate"}
    for name, values in expected.items():
        assert (history[name].steps == np.arange(7)).all()
        np.testing.assert_allclose(history[name].values, values, rtol=0, atol=ROUNDING)
    assert len(set(history["test_accuracy"].values) | set(history["accuracy"].values)) > 2


def test_each_quantity_has_its_own_schedule():
    recorder = Recorder(2, sharpness=1, schedule={"sharpness": 6, "loss": 1, "accuracy": 0, "iterate": 3}, extra=KEEP)
    steps = {name: list(series.steps) for name, series in history_of(recorder, steps=7).items()}
    spectral = {
        "sharpness", "eigenvalues", "eigenvalue_residuals", "eigenvalues_converged", "eigenvalue_products",
        "gradient_projections_squared",
    }  # fmt: skip
    assert steps == {
        "loss": list(range(8)),
        "iterate": [0, 3, 6],
        **{name: [0, 2, 4, 6] for name in ("gradient_norm_squared", "regularizer", "displacement")},
        **{name: [0, 6] for name in spectral},
    }


def test_spectrum_is_that_of_the_dense_hessian():
    problem = classifier()
    history = history_of(Recorder(2, sharpness=3, extra=KEEP, tolerance=1e-9))
    for i, parameters in enumerate(history["iterate"].values):
        values, vectors = np.linalg.eigh(problem.hessian(parameters).dense())
        # an eigenvalue is off by at most its residual, relative to the largest
        np.testing.assert_allclose(history["eigenvalues"].values[i], values[:-4:-1], rtol=0, atol=1e-9 * values[-1])
        assert history["sharpness"].values[i] == history["eigenvalues"].values[i, 0]
        projections = (vectors[:, :-4:-1].T @ problem.gradient(parameters)) ** 2
        gap = np.min(np.diff(values[-4:])) / values[-1]
        found = history["gradient_projections_squared"].values[i]
        # vectors are off by residual / gap, their projections by twice that times the gradient squared
        np.testing.assert_allclose(found, projections, rtol=0, atol=1e-8 / gap)
    assert history["eigenvalues_converged"].values.all()
    assert (history["eigenvalue_residuals"].values <= 1e-9).all()


def test_preconditioned_spectrum_for_ivon():
    rule = ivon(0.05, 100, np.linspace(0.2, 2, 31), weight_decay=0.1, hessian_decay=0.9)
    recorder = Recorder(
        3, sharpness=2, extra=KEEP, tolerance=1e-9, preconditioner=lambda state: state["hessian"] + 0.1
    )  # fmt: skip
    problem, history = classifier(), history_of(recorder, 3, rule)
    end = train(problem, rule, START, 3, rng=0)
    for i, hessian in enumerate([np.linspace(0.2, 2, 31), end.state["hessian"]]):
        parameters, root = history["iterate"].values[i], np.sqrt(hessian + 0.1)
        values, vectors = np.linalg.eigh(problem.hessian(parameters).dense() / root[:, None] / root)
        np.testing.assert_allclose(history["eigenvalues"].values[i], values[:-3:-1], rtol=0, atol=1e-9 * values[-1])
        projections = (vectors[:, :-3:-1].T @ (problem.gradient(parameters) / root)) ** 2
        found = history["gradient_projections_squared"].values[i]
        np.testing.assert_allclose(found, projections, rtol=0, atol=1e-8 / np.min(np.diff(values[-3:])))


NOTHING = dict.fromkeys(("loss", "gradient_norm_squared", "regularizer", "displacement", "accuracy"), 0)


def in_pieces(problem, rule, start, pieces, length, rng, diagonal=None):
    """Sharpness at the start of each piece, and the slope along its eigenvector at each step, by pieces of training."""
    sharpness, slopes, vectors = [], [], None
    parameters, state = problem.backend.array(start), rule.start(problem)
    for _ in range(pieces):
        operator, scale = problem.hessian(parameters), 1.0
        if diagonal is not None:
            operator, scale = preconditioned(operator, diagonal(state)), 1 / np.sqrt(diagonal(state))
        top = top_eigenpairs(operator, rng=0, start=vectors, tolerance=1e-2)
        vectors = top.vectors
        sharpness.append(top.values[0])
        for _ in range(length):
            slopes.append(((scale * problem.gradient(parameters)) @ vectors)[0])
            parameters, state = rule(problem, parameters, state, rng)
    return np.array(sharpness), np.array(slopes)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("rule", "diagonal"),
    [
        (gradient_descent(0.4, 0.5), None),
        (variational_gradient_descent(0.4, 0.01, samples=2), None),
        (ivon(0.05, 100, np.linspace(0.2, 2, 31), hessian_decay=0.9), lambda state: state["hessian"] + 0.1),
    ],
    ids=["heavy ball", "variational", "preconditioned"],
)
def test_slopes_along_the_latest_eigenvector_at_every_step(rule, diagonal, dtype):
    problem = classifier(dtype)
    recorder = Recorder(
        sharpness=1, tolerance=1e-2, schedule=NOTHING | {"sharpness": 5, "gradient_projections": 1, "eigenvectors": 7},
        preconditioner=diagonal,
    )  # fmt: skip
    history = train(problem, rule, START, 20, rng=np.random.default_rng(6), recorder=recorder).history
    sharpness, slopes = in_pieces(problem, rule, START, 4, 5, np.random.default_rng(6), diagonal)
    assert (history["sharpness"].values[:-1] == sharpness).all()
    assert history["gradient_projections"].values.shape == (21, 1)
    assert (history["gradient_projections"].values[:-1, 0] == slopes).all()
    slopes = history["gradient_projections"].values[::5].astype(np.float64)
    assert (slopes**2 == history["gradient_projections_squared"].values).all()
    # an eigenvector is of norm 1, and the one of step 5 is still the latest at step 7
    assert list(history["eigenvectors"].steps) == [0, 7, 14]
    norms = np.linalg.norm(history["eigenvectors"].values, axis=1)
    np.testing.assert_allclose(norms, 1, rtol=0, atol=40 * float(np.finfo(dtype).eps))
    if diagonal is None:
        iterates = train(problem, rule, START, 7, rng=np.random.default_rng(6), recorder=Recorder(extra=KEEP))
        gradient = problem.gradient(iterates.history["iterate"].values[6])
        along = gradient @ history["eigenvectors"].values[1][:, 0]
        # two orders of summing n products
        rounding = 2 * gradient.size * float(np.finfo(dtype).eps * np.linalg.norm(gradient))
        assert history["gradient_projections"].values[6, 0] == pytest.approx(along, rel=0, abs=rounding)


def test_what_is_never_recorded_needs_no_sharpness():
    assert "eigenvectors" not in history_of(Recorder(schedule={"eigenvectors": 0}))


def test_projections_begin_with_the_first_eigenvectors():
    first = train(classifier(), gradient_descent(0.4), START, 3)
    recorder = Recorder(sharpness=1, schedule={"sharpness": 5, "gradient_projections": 1})
    history = train(classifier(), gradient_descent(0.4), first, 7, recorder=recorder).history
    assert list(history["gradient_projections"].steps) == [5, 6, 7]


def test_projections_that_overflow_are_divergence():
    problem, _, _ = quadratic()
    recorder = Recorder(sharpness=1, schedule=NOTHING | {"sharpness": 1})
    with pytest.raises(TrainingDiverged, match="after step 1: gradient_projections_squared is "):
        train(problem, lambda problem, w, state, rng: (w + 1e200, state), np.ones(8), 3, recorder=recorder)


def test_eigenvectors_start_from_those_before(monkeypatch):
    from quadlab.bridge import spectra

    starts, found, original = [], [], spectra.top_eigenpairs

    def watched(*arguments, start, **options):
        starts.append(start)
        found.append(original(*arguments, start=start, **options))
        return found[-1]

    monkeypatch.setattr(spectra, "top_eigenpairs", watched)
    history_of(Recorder(sharpness=2), steps=3)
    assert starts[0] is None
    assert all(start is before.vectors for start, before in zip(starts[1:], found, strict=False))


def test_what_did_not_converge_shows():
    history = history_of(Recorder(sharpness=2, tolerance=1e-12, max_products=6), steps=1)
    assert not history["eigenvalues_converged"].values.any()
    assert (history["eigenvalue_residuals"].values.max(axis=1) > 1e-12).all()


def test_recording_shares_its_pass_with_the_rule(monkeypatch):
    calls, original = [], Problem.loss_and_gradient

    def counted(self, parameters):
        calls.append(1)
        return original(self, parameters)

    monkeypatch.setattr(Problem, "loss_and_gradient", counted)
    history_of(Recorder(), steps=5)
    assert len(calls) == 6


def test_regression_has_no_accuracy():
    problem, _, _ = quadratic()
    history = train(problem, gradient_descent(0.1), np.zeros(8), 1, recorder=Recorder(test=problem)).history
    assert set(history) == {"loss", "gradient_norm_squared", "regularizer", "displacement", "test_loss"}


def test_extra_quantities_see_the_problem_and_may_be_arrays():
    seen = []

    def outputs(problem, parameters):
        seen.append(problem)
        return problem.predict(parameters)[:2]

    problem = classifier()
    history = history_of(Recorder(3, extra={"outputs": outputs}), problem=problem)
    assert history["outputs"].values.shape == (3, 2, 3)
    assert all(each is problem for each in seen)


def test_a_history_is_read_back_as_it_was_saved(tmp_path):
    history = history_of(Recorder(2, sharpness=2, extra={"a/b": lambda problem, parameters: parameters[:2]}))
    history.save(tmp_path / "kept")
    read = History.load(tmp_path / "kept")
    assert list(read) == list(history)
    for name, series in history.items():
        for part, again in zip(series, read[name], strict=True):
            assert part.dtype == again.dtype
            assert (part == again).all()


def test_a_history_names_what_it_has():
    with pytest.raises(KeyError, match="'sharpness' was not recorded, only loss, gradient_norm_squared"):
        history_of(Recorder())["sharpness"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Recorder(0), "every must be a whole number >= 1, got 0.0"),
        (lambda: Recorder(sharpness=-1), "sharpness must be a whole number >= 0, got -1.0"),
        (lambda: Recorder(seed=-1), "seed must be a whole number >= 0, got -1.0"),
        (lambda: Recorder(tolerance=0), "tolerance must be in (0, 1), got 0.0"),
        (lambda: Recorder(tolerance=1), "tolerance must be in (0, 1), got 1.0"),
        (lambda: Recorder(max_products=0), "max_products must be a whole number >= 1, got 0.0"),
        (lambda: Recorder(preconditioner=1.0), "preconditioner must be a function of the rule's state, got 1.0"),
        (lambda: Recorder(extra=[len]), "extra must be a mapping of names, got [<built-in function len>]"),
        (lambda: Recorder(extra={1: len}), "extra must hold functions under names of their own, got 1: "),
        (lambda: Recorder(schedule=["loss"]), "schedule must be a mapping of names, got ['loss']"),
        (lambda: Recorder(schedule={"eigenvectors": 1}), "schedule['eigenvectors'] must be 0 where sharpness is never"),
        (
            lambda: Recorder(sharpness=1, schedule={"gradient_projections": 2, "sharpness": 0}),
            "schedule['gradient_projections'] must be 0 where sharpness is never recorded, got 2",
        ),
        (lambda: history_of(Recorder(test=3)), "test must be a problem or None, got 3"),
        (
            lambda: history_of(Recorder(extra={"x": lambda problem, w: None})),
            "x must be real numbers, got dtype object",
        ),
        (lambda: history_of(Recorder(extra={"x": lambda problem, w: "a"})), "x must be real numbers, got dtype <U1"),
        (
            lambda: history_of(Recorder(extra={"x": lambda problem, w: 1j})),
            "x must be real numbers, got dtype complex128",
        ),
        (
            lambda: history_of(Recorder(extra={"x": lambda problem, w: [[1], [1, 2]]})),
            "got rows of unequal length at step 0",
        ),
        (lambda: Recorder(extra={"loss": len}), "extra must hold functions under names of their own, got 'loss'"),
        (lambda: Recorder(extra={"one": 1}), "extra must hold functions under names of their own, got 'one': 1"),
        (lambda: Recorder(schedule={"los": 1}), "schedule must name quantities among loss, gradient_norm_squared"),
        (lambda: Recorder(schedule={"loss": -1}), "schedule['loss'] must be a whole number >= 0, got -1.0"),
        (lambda: history_of(Recorder(sharpness=32)), "sharpness must be at most the 31 parameters, got 32"),
        (lambda: history_of(Recorder(test=quadratic()[0])), "test must be on the same network and backend as Problem("),
        (lambda: history_of(Recorder(test=classifier("float32"))), "test must be on the same network and backend as"),
        (
            lambda: history_of(Recorder(extra={"growing": lambda problem, w: np.ones(len(sizes.append(0) or sizes))})),
            "growing must keep its shape (1,), got (2,) at step 1",
        ),
    ],
)
def test_unfit_settings_are_refused(make, message):
    sizes.clear()
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


sizes: list[int] = []
