"""The training loop: what it does with the arrays it is given, averages, divergence, and other namespaces."""

import pickle
import re

import array_api_strict
import numpy as np
import pytest
from training_problems import classifier, iterates, quadratic

from quadlab.bridge import host
from quadlab.bridge.arrays import Backend
from quadlab.bridge.training import (
    Average,
    Recorder,
    Rule,
    TrainingDiverged,
    explicit_gradient_regularization,
    exponential_average,
    gradient_descent,
    ivon,
    loop,
    nesterov,
    sam,
    tail_average,
    train,
    variational_gradient_descent,
)

RULES = [
    gradient_descent(0.2),
    gradient_descent(0.2, 0.8, batch_size=5),
    nesterov(0.2, 0.8, batch_size=5),
    variational_gradient_descent(0.2, 0.01, samples=3, antithetic=True, batch_size=5),
    variational_gradient_descent(0.2, np.full(31, 0.01), degrees_of_freedom=4),
    ivon(0.05, 100, 0.5, weight_decay=0.01, hessian_decay=0.9, samples=2),
    sam(0.2, 0.1),
    sam(0.2, 0.1, normalize=False, batch_size=5),
    explicit_gradient_regularization(0.2, 0.05),
]
START = classifier().network.initial(1)
ROUNDING = 500 * np.finfo(float).eps


def in_place(problem, parameters, state, rng):
    """Gradient descent that changes the array it is given."""
    for _ in range(2):
        parameters -= 0.1 * problem.gradient(parameters)
    return parameters, state


def keeps_parameters(**settings):
    return Recorder(extra={"iterate": lambda problem, parameters: parameters}, **settings)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_training_is_the_rule_step_after_step(rule):
    problem = classifier()
    path = iterates(rule, problem, START, 6, rng=3)
    training = train(problem, rule, START, 6, rng=3)
    assert training.step == 6
    assert (training.parameters == path[-1]).all()
    recorded = train(problem, rule, START, 6, rng=3, recorder=keeps_parameters(sharpness=2)).history
    assert (recorded["iterate"].values == path).all()


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_every_rule_runs_on_another_device(rule):
    device = array_api_strict.Device("device1")
    problem = classifier(backend=Backend(array_api_strict, device))
    there, here = (
        train(where, rule, START, 6, rng=3, recorder=Recorder(2, sharpness=2, test=where), averages=[tail_average(2)])
        for where in (problem, classifier())
    )
    assert there.parameters.device == device
    np.testing.assert_allclose(host(there.parameters), here.parameters, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(
        host(there.averages["tail_average(2)"]), here.averages["tail_average(2)"], rtol=0, atol=ROUNDING
    )
    assert set(there.history) == set(here.history)
    for name in ("loss", "regularizer", "displacement", "accuracy", "test_loss", "test_accuracy"):
        np.testing.assert_allclose(there.history[name].values, here.history[name].values, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("recorder", [None, keeps_parameters(), keeps_parameters(every=3)])
def test_rules_that_change_their_arrays_are_trained_alike(recorder):
    start = START.copy()
    changed = train(classifier(), in_place, start, 5, recorder=recorder, averages=[tail_average(0)])
    kept = train(classifier(), gradient_descent(0.1), START, 10, recorder=keeps_parameters())
    assert (start == START).all()
    assert (changed.parameters == kept.parameters).all()
    mean = kept.history["iterate"].values[::2].mean(axis=0)
    np.testing.assert_allclose(changed.averages["tail_average(0)"], mean, rtol=0, atol=ROUNDING)
    if recorder is not None:
        distance = np.linalg.norm(kept.history["iterate"].values[0 : 10 : 2 * recorder.every] - START, axis=1)
        found = changed.history["displacement"].values[: len(distance)]
        np.testing.assert_allclose(found, distance, rtol=0, atol=ROUNDING)
        iterates_found = changed.history["iterate"].values
        assert (iterates_found == kept.history["iterate"].values[:: 2 * recorder.every]).all()


def test_a_rule_may_change_the_gradient_it_is_given():
    def careless(problem, parameters, state, rng):
        first = problem.gradient(parameters)
        first *= 0
        return parameters - 0.1 * problem.gradient(parameters), state

    ends = [
        train(classifier(), rule, START, 3, recorder=Recorder()).parameters
        for rule in (careless, gradient_descent(0.1))
    ]
    assert (ends[0] == ends[1]).all()


def test_iterates_keep_the_precision_of_the_problem():
    def in_double(problem, parameters, state, rng):
        return np.asarray(parameters, dtype=float) + 1 / 3, state

    problem = classifier("float32")
    training = train(problem, in_double, START, 3, recorder=keeps_parameters())
    assert training.parameters.dtype == training.history["iterate"].values.dtype == np.float32


def test_averages_of_the_iterates():
    training = train(
        classifier(), gradient_descent(0.2, 0.5), START, 9, recorder=keeps_parameters(),
        averages=[tail_average(0), tail_average(4), tail_average(9), tail_average(10), exponential_average(0.8)],
    )  # fmt: skip
    path = training.history["iterate"].values
    assert set(training.averages) == {
        "tail_average(0)", "tail_average(4)", "tail_average(9)", "exponential_average(0.8)"
    }  # fmt: skip
    for start in (0, 4, 9):
        found = training.averages[f"tail_average({start})"]
        np.testing.assert_allclose(found, path[start:].mean(axis=0), rtol=0, atol=ROUNDING)
    weights = np.append(0.8**9, 0.2 * 0.8 ** np.arange(8, -1, -1))
    np.testing.assert_allclose(training.averages["exponential_average(0.8)"], weights @ path, rtol=0, atol=ROUNDING)


def test_an_average_may_change_the_array_it_is_given():
    def add(step, parameters, average):
        average += parameters
        return average

    plain = train(classifier(), gradient_descent(0.2), START, 4, recorder=keeps_parameters())
    summed = train(classifier(), gradient_descent(0.2), START, 4, averages=[Average("sum", 1, add)])
    assert (summed.parameters == plain.parameters).all()
    path = plain.history["iterate"].values[1:]
    np.testing.assert_allclose(summed.averages["sum"], path.sum(axis=0), rtol=0, atol=ROUNDING)
    last = train(classifier(), gradient_descent(0.2), START, 4, averages=[tail_average(4)])
    last.averages["tail_average(4)"][...] = 0
    assert (last.parameters == plain.parameters).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_divergence_says_at_which_step_and_keeps_the_records(dtype):
    problem, _, _ = quadratic(dtype=dtype)
    with pytest.raises(TrainingDiverged) as caught:
        train(problem, gradient_descent(50.0), np.ones(8), 10**5, recorder=Recorder(schedule={"accuracy": 0}))
    training = caught.value.training
    with np.errstate(over="ignore", invalid="ignore"):
        path = iterates(gradient_descent(50.0), problem, np.ones(8), training.step)
    assert (training.parameters == path[-1]).all()
    assert str(caught.value).startswith(f"training diverged after step {training.step}: ")
    steps, losses = training.history["loss"]
    assert len(steps) >= training.step
    assert np.isfinite(losses).all()
    # the squared error grows by (50 h - 1)^2 per step: the end is where numbers of this dtype end
    assert losses[-1] > np.sqrt(np.finfo(dtype).max)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.training.step) == (str(caught.value), training.step)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, [np.inf, -np.inf]])
def test_parameters_that_are_not_finite_are_not_returned(bad):
    def third_breaks(problem, parameters, state, rng):
        moved = parameters + 1.0
        if state.get("steps", 0) == 2:
            moved[4:6] = bad
        return moved, {"steps": state.get("steps", 0) + 1}

    with pytest.raises(TrainingDiverged, match="after step 2: the parameters are no longer finite") as caught:
        train(classifier(), third_breaks, START, 10)
    assert (caught.value.training.parameters == START + 1.0 + 1.0).all()


def test_a_loss_that_overflows_is_divergence():
    problem, _, _ = quadratic(dtype="float32")
    with pytest.raises(TrainingDiverged, match="after step 1: loss is inf"):
        train(problem, lambda problem, w, state, rng: (w + 1e20, state), np.ones(8), 3, recorder=Recorder())


def test_a_gradient_whose_square_overflows_is_divergence():
    problem, _, _ = quadratic()
    recorder = Recorder(schedule={"loss": 0})
    with pytest.raises(TrainingDiverged, match="after step 1: gradient_norm_squared is inf"):
        train(problem, lambda problem, w, state, rng: (w + 1e200, state), np.ones(8), 3, recorder=recorder)


def test_stop_is_asked_after_each_record():
    asked = []

    def enough(latest):
        asked.append(latest["loss"])
        return len(asked) == 3

    training = train(classifier(), gradient_descent(0.2), START, 100, recorder=Recorder(4), stop=enough)
    assert training.step == 8
    assert asked == list(training.history["loss"].values)


def test_the_generator_is_the_users_and_seeds_repeat():
    rule, problem = variational_gradient_descent(0.2, 0.01), classifier()
    ends = [train(problem, rule, START, 3, rng=rng).parameters for rng in (7, np.random.SeedSequence(7))]
    assert (ends[0] == ends[1]).all()
    whole, halves = np.random.default_rng(7), np.random.default_rng(7)
    end = train(problem, rule, START, 3, rng=whole).parameters
    halfway = train(problem, rule, START, 1, rng=halves).parameters
    assert (train(problem, rule, halfway, 2, rng=halves).parameters == end).all()
    assert (train(problem, rule, START, 3).parameters != ends[0]).any()


def test_nothing_is_printed_off_a_terminal(capsys):
    train(classifier(), gradient_descent(0.2), START, 3, progress=True, recorder=Recorder())
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    train(classifier(), gradient_descent(0.2), START, 3, progress=False, recorder=Recorder(sharpness=1))
    assert capsys.readouterr() == ("", "")
    training = train(classifier(), gradient_descent(0.2), START, 3, progress=True, recorder=Recorder(sharpness=1))
    shown = capsys.readouterr().err
    # the bar moves before the record of its step is made
    assert (
        f"loss {training.history['loss'].values[2]:.4g}, sharpness {training.history['sharpness'].values[2]:.4g}"
        in shown
    )


def test_a_large_run_announces_its_memory(capsys, monkeypatch):
    problem = classifier(batch=6)
    monkeypatch.setattr(loop, "LARGE_RUN", problem.memory(2) - 1)
    train(problem, gradient_descent(0.2), START, 1)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(type(problem), "memory", lambda self, vectors: vectors * 2**30)
    train(problem, gradient_descent(0.2), START, 1, recorder=Recorder(sharpness=3))
    assert capsys.readouterr().err == "training needs about 3.0 GiB at batch=6; a smaller batch needs less\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"parameters": START[:4]}, "parameters must have shape (31,), got (4,)"),
        ({"parameters": START * np.nan}, "parameters must be finite, got nan"),
        ({"parameters": ["a"] * 31}, "parameters must be real numbers, got dtype <U1"),
        ({"rule": 0.1}, "rule must be a function (problem, parameters, state, rng) -> (parameters, state), got 0.1"),
        ({"rule": lambda p, w, s, r: (w[:3], s)}, "rule must return parameters of shape (31,), got (3,)"),
        ({"steps": 0}, "steps must be a whole number >= 1, got 0.0"),
        ({"rng": "seed"}, "rng must be None, a non-negative int, a SeedSequence or a Generator, got 'seed'"),
        (
            {"averages": [tail_average(1)] * 2},
            "averages must be a list of different averages such as tail_average(100)",
        ),
        (
            {"averages": ["tail"]},
            "averages must be a list of different averages such as tail_average(100), got ['tail']",
        ),
        ({"averages": tail_average(1)}, "list of different averages such as tail_average(100), got tail_average(1)"),
        ({"recorder": "all"}, "recorder must be a Recorder or None, got 'all'"),
        ({"stop": 3, "recorder": Recorder()}, "stop must be a function of what was recorded latest, got 3"),
        ({"checkpoint": "."}, "checkpoint must be a file in a folder that exists, got ."),
        ({"checkpoint": 3}, "checkpoint must be a file in a folder that exists, got 3"),
        ({"rule": lambda p, w, s, r: w}, "rule must return parameters and a mapping, its state, got "),
        ({"rule": lambda p, w, s, r: (w, None)}, "and a mapping, its state, got ['ndarray', 'NoneType']"),
        ({"rule": lambda p, w, s, r: (list(w), s)}, "rule must return parameters of shape (31,), got list"),
        ({"stop": lambda latest: True}, "stop needs a recorder, as it is asked about what was recorded, got None"),
        ({"resume": True}, "resume needs a checkpoint to continue, got None"),
        ({"checkpoint": "no_such_folder/run.npz"}, "checkpoint must be a file in a folder that exists, got no_such"),
        ({"checkpoint_every": 0}, "checkpoint_every must be a whole number >= 1, got 0.0"),
    ],
)
def test_unfit_arguments_are_refused(arguments, message):
    fit = {"rule": gradient_descent(0.2), "parameters": START, "steps": 2}
    with pytest.raises(ValueError, match=re.escape(message)):
        train(classifier(), **(fit | arguments))


def test_another_object_is_no_problem():
    with pytest.raises(ValueError, match="problem must be a quadlab.bridge.Problem, got 'digits'"):
        train("digits", gradient_descent(0.2), START, 2)


def test_rules_that_change_their_arrays_leave_the_last_finite_iterate():
    def third_breaks(problem, parameters, state, rng):
        parameters += np.inf if state.get("steps", 0) == 2 else 1.0
        return parameters, {"steps": state.get("steps", 0) + 1}

    with pytest.raises(TrainingDiverged, match="after step 2: the parameters are no longer finite") as caught:
        train(classifier(), third_breaks, START, 10)
    assert (caught.value.training.parameters == START + 1.0 + 1.0).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tail_average(-1), "start must be a whole number >= 0, got -1.0"),
        (lambda: exponential_average(1.0), "decay must be in [0, 1), got 1.0"),
    ],
)
def test_unfit_averages_are_refused(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_a_rule_may_refuse_a_problem_before_the_first_step():
    def refuse(problem):
        raise ValueError(f"{problem.dimension} are too many")

    with pytest.raises(ValueError, match="31 are too many"):
        train(classifier(), Rule("picky", gradient_descent(0.1), refuse), START, 1)
