"""A continued run is the uninterrupted one, number for number, and nothing else is continued."""

import dataclasses
import functools
import json
import re

import array_api_strict
import numpy as np
import pytest
from training_problems import classifier, iterates, quadratic

from quadlab import bridge
from quadlab.bridge import host
from quadlab.bridge.arrays import Backend
from quadlab.bridge.training import (
    Average,
    History,
    Recorder,
    Rule,
    TrainingDiverged,
    checkpoints,
    explicit_gradient_regularization,
    exponential_average,
    gradient_descent,
    ivon,
    modified_flow,
    nesterov,
    sam,
    tail_average,
    train,
    variational_gradient_descent,
)
from quadlab.bridge.training.contents import contents, difference
from quadlab.theory.seeds import generator

RULES = [
    gradient_descent(0.2, batch_size=5),
    gradient_descent(0.2, 0.8, batch_size=5),
    nesterov(0.2, 0.8),
    variational_gradient_descent(0.2, 0.01, samples=3, antithetic=True, batch_size=5),
    variational_gradient_descent(0.2, 0.01, degrees_of_freedom=4),
    ivon(0.05, 100, 0.5, weight_decay=0.01, hessian_decay=0.9, batch_size=5),
    sam(0.2, 0.1),
]
EVERY_RULE = [*RULES, gradient_descent(0.2), explicit_gradient_regularization(0.2, 0.05), modified_flow(0.05, 0.3)]
START = classifier().network.initial(1)
ROUNDING = 500 * np.finfo(float).eps


def settings(dtype="float64", **changed):
    recorder = Recorder(
        2, sharpness=2, test=classifier(dtype, seed=4), schedule={"sharpness": 3},
        extra={"iterate": lambda problem, parameters: parameters},
    )  # fmt: skip
    kept = {"rng": 5, "recorder": recorder, "averages": [tail_average(4), exponential_average(0.9)]}
    return kept | changed


def with_other(data):
    """The problem with one number of its data changed."""
    problem = classifier()
    getattr(problem, data)[0, 0] += 1
    return problem


def assert_same(one, other):
    assert one.step == other.step
    assert (one.parameters == other.parameters).all()
    assert one.parameters.dtype == other.parameters.dtype
    assert set(one.state) == set(other.state)
    for name, value in one.state.items():
        assert np.all(value == other.state[name])
        assert type(value) is type(other.state[name])
    assert list(one.averages) == list(other.averages)
    assert all((one.averages[name] == other.averages[name]).all() for name in one.averages)
    assert list(one.history) == list(other.history)
    for name, series in one.history.items():
        assert (series.steps == other.history[name].steps).all()
        assert (series.values == other.history[name].values).all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_longer_run_continues_a_shorter_one(rule, dtype, tmp_path):
    problem, path = classifier(dtype), tmp_path / "run.npz"
    options = settings(dtype)
    whole = train(problem, rule, START, 13, **options)
    train(problem, rule, START, 7, checkpoint=path, **options)
    continued = train(problem, rule, START, 13, checkpoint=path, resume=True, **options)
    assert_same(whole, continued)
    finished = train(problem, rule, START, 13, checkpoint=path, resume=True, **options)
    assert_same(whole, finished)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rule", EVERY_RULE, ids=str)
def test_a_run_goes_on_from_its_result(rule, dtype):
    problem, options = classifier(dtype), settings(dtype)
    whole, first = train(problem, rule, START, 13, **options), train(problem, rule, START, 6, **options)
    before = {name: np.array(value) for name, value in first.state.items()}
    for middle in (8, 9):
        # steps 6 and 9 are those of a record
        half = train(problem, rule, first, middle, **(options | {"rng": None}))
        assert_same(whole, train(problem, rule, half, 13, **(options | {"rng": None})))
    assert first.step == 6
    assert list(first.history["loss"].steps) == [0, 2, 4, 6]
    assert all((value == first.state[name]).all() for name, value in before.items())


def test_a_run_goes_on_with_other_settings():
    """Heavy ball takes up no velocity after descent, and gets on with its own at another rate."""
    problem, other = classifier(), gradient_descent(0.1, 0.5)
    first = train(problem, gradient_descent(0.2), START, 3)
    second = train(problem, gradient_descent(0.3, 0.8), first, 5)
    assert (second.parameters == train(problem, gradient_descent(0.3, 0.8), first.parameters, 2).parameters).all()
    third = train(problem, other, second, 6, recorder=Recorder(), averages=[tail_average(6)])
    velocity = 0.5 * second.state["velocity"] - 0.1 * problem.gradient(second.parameters)
    assert (third.parameters == second.parameters + velocity).all()
    assert (third.averages["tail_average(6)"] == third.parameters).all()
    # displacements are from the start of the run
    distance = np.linalg.norm(second.parameters - START)
    assert third.history["displacement"].steps[0] == 5
    assert third.history["displacement"].values[0] == pytest.approx(distance, rel=1e-15)
    assert (train(problem, other, third, 7).history["loss"].values == third.history["loss"].values).all()
    assert list(train(problem, other, third, 7, recorder=Recorder()).history["loss"].steps) == [5, 6, 7]


def test_a_run_that_diverged_goes_on_from_its_last_finite_iterate():
    def breaks(problem, parameters, state, rng):
        return parameters + (np.inf if state.get("steps", 0) == 2 else 1.0), {"steps": state.get("steps", 0) + 1}

    with pytest.raises(TrainingDiverged) as caught:
        train(classifier(), breaks, START, 9, recorder=Recorder())
    again = train(classifier(), gradient_descent(0.1), caught.value.training, 4, recorder=Recorder())
    assert list(again.history["loss"].steps) == [0, 1, 2, 3, 4]
    assert (again.parameters == train(classifier(), gradient_descent(0.1), START + 1.0 + 1.0, 2).parameters).all()


def test_a_generator_may_be_given_for_what_follows():
    problem, rule = classifier(), variational_gradient_descent(0.2, 0.01)
    first = train(problem, rule, START, 3, rng=5)
    given = train(problem, rule, first, 5, rng=np.random.default_rng(8))
    anew = train(problem, rule, first.parameters, 2, rng=np.random.default_rng(8))
    assert (given.parameters == anew.parameters).all()
    assert (given.parameters != train(problem, rule, first, 5).parameters).any()


def test_what_a_caller_draws_later_changes_nothing():
    """Nor what becomes of the array that the run began with, from which displacements count."""
    problem, rule, random = classifier(), variational_gradient_descent(0.2, 0.01), generator(5, "train")
    start = START.copy()
    first = train(problem, rule, start, 3, rng=random, recorder=Recorder())
    random.standard_normal(10)
    start *= 0
    assert_same(
        train(problem, rule, first, 5, recorder=Recorder()), train(problem, rule, START, 5, rng=5, recorder=Recorder())
    )


def test_rules_that_change_their_state_leave_an_earlier_result_alone():
    def step(problem, parameters, state, rng):
        state["sum"] += problem.gradient(parameters)
        return parameters - 0.1 * state["sum"], state

    problem, rule = classifier(), Rule("in place", step, lambda problem: {"sum": np.zeros(31)})
    first = train(problem, rule, START, 3)
    ends = [train(problem, rule, first, 5).parameters for _ in range(2)]
    assert (ends[0] == ends[1]).all()
    assert (ends[0] == train(problem, rule, START, 5).parameters).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 2}, "steps must be at least the 3 that the run has made already, got 2"),
        ({"averages": [tail_average(3)]}, "averages must be those of the run, or start after its step 3, got tail_av"),
        ({"problem": quadratic()[0]}, "parameters must have shape (8,), got (31,)"),
        ({"recorder": Recorder(sharpness=2)}, "eigenvalues must keep its shape (1,), got (2,) at step 4"),
    ],
)
def test_what_cannot_go_on_is_refused(arguments, message):
    first = train(classifier(), gradient_descent(0.2), START, 3, recorder=Recorder(sharpness=1))
    fit = {"problem": classifier(), "rule": gradient_descent(0.2), "parameters": first, "steps": 5}
    with pytest.raises(ValueError, match=re.escape(message)):
        train(**(fit | arguments))


@pytest.mark.parametrize("steps", [4, 5])
def test_eigenvectors_between_their_steps_come_back(steps, tmp_path):
    """With the preconditioner that they were found with, which the rule has changed since."""
    recorder = Recorder(
        sharpness=2, schedule={"sharpness": 4, "gradient_projections": 1, "eigenvectors": 3},
        preconditioner=lambda state: state["hessian"] + 0.01,
    )  # fmt: skip
    problem, rule, options = classifier(), EVERY_RULE[5], {"recorder": recorder, "rng": 3}
    whole = train(problem, rule, START, 10, **options)
    path = tmp_path / "run.npz"
    half = train(problem, rule, START, steps, checkpoint=path, **options)
    assert_same(whole, train(problem, rule, START, 10, checkpoint=path, resume=True, **options))
    assert_same(whole, train(problem, rule, half, 10, recorder=recorder))


@pytest.mark.parametrize("bits", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_a_run_that_was_killed_continues(bits, tmp_path):
    problem, rule, path = classifier(), RULES[3], tmp_path / "run.npz"

    def generator():
        return np.random.Generator(getattr(np.random, bits)(11))

    def killed(latest):
        if len(seen) == 5:
            raise KeyboardInterrupt
        seen.append(latest["loss"])

    seen: list[float] = []
    whole = train(problem, rule, START, 13, **settings(rng=generator()))
    with pytest.raises(KeyboardInterrupt):
        train(problem, rule, START, 13, checkpoint=path, checkpoint_every=3, stop=killed, **settings(rng=generator()))
    # neither the seed nor the start is asked for again
    assert_same(whole, train(problem, rule, 0 * START, 13, checkpoint=path, resume=True, **settings(rng=None)))


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_run_continues_on_another_device(rule, tmp_path):
    device, path = array_api_strict.Device("device1"), tmp_path / "run.npz"
    there, here = classifier(backend=Backend(array_api_strict, device)), classifier()
    options = {"rng": 5, "averages": [tail_average(2)], "checkpoint": path}
    ends = []
    for first, second in ((here, here), (here, there), (there, here)):
        train(first, rule, START, 4, recorder=Recorder(2, sharpness=2), **options)
        train(second, rule, START, 6, recorder=Recorder(2, sharpness=2), resume=True, **options)
        ends.append(train(second, rule, START, 9, recorder=Recorder(2, sharpness=2), resume=True, **options))
    assert ends[1].parameters.device == device
    for end in ends[1:]:
        np.testing.assert_allclose(host(end.parameters), ends[0].parameters, rtol=0, atol=ROUNDING)
        np.testing.assert_allclose(
            host(end.averages["tail_average(2)"]), ends[0].averages["tail_average(2)"], rtol=0, atol=ROUNDING
        )


def test_without_a_file_a_run_starts_anew(tmp_path):
    path = tmp_path / "run.npz"
    whole = train(classifier(), RULES[0], START, 5, **settings())
    assert_same(whole, train(classifier(), RULES[0], START, 5, checkpoint=path, resume=True, **settings()))
    train(classifier(), RULES[0], START, 3, checkpoint=path, **settings())
    assert_same(whole, train(classifier(), RULES[0], START, 5, checkpoint=path, **settings()))


def test_a_stopped_run_stops_again(tmp_path):
    options = settings(stop=lambda latest: latest["displacement"] > 1.0, checkpoint=tmp_path / "run.npz")
    stopped = train(classifier(), RULES[1], START, 500, checkpoint_every=2, **options)
    assert 2 < stopped.step < 500
    assert_same(stopped, train(classifier(), RULES[1], START, 500, resume=True, **options))


def test_a_stopped_run_is_saved_where_it_stopped(tmp_path):
    path = tmp_path / "run.npz"
    options = settings(checkpoint=path)
    stopped = train(classifier(), RULES[1], START, 500, stop=lambda latest: latest["displacement"] > 1.0, **options)
    with np.load(path) as file:
        assert (file["parameters"] == stopped.parameters).all()
    steps = stopped.step + 3
    assert_same(
        train(classifier(), RULES[1], START, steps, **settings()),
        train(classifier(), RULES[1], START, steps, resume=True, **options),
    )


def test_the_order_of_a_schedule_is_no_other_recorder(tmp_path):
    for schedule in ({"loss": 2, "accuracy": 0}, {"accuracy": 0, "loss": 2}):
        options = {"recorder": Recorder(schedule=schedule), "checkpoint": tmp_path / "run.npz", "resume": True}
        assert train(classifier(), RULES[0], START, 3, rng=0, **options).step == 3


def test_states_of_any_numbers_come_back_as_they_were(tmp_path):
    """Double-precision scalars and arrays in single precision would change the iterates if they came back otherwise."""

    def step(problem, parameters, state, rng):
        moved = parameters * np.asarray(state["scale"] + state["array"][0], dtype=np.float64)
        state = {**state, "count": state["count"] + 1, "scale": state["scale"] * 1.1}
        return moved - state["rate"] * problem.gradient(moved), state

    def start(problem):
        return {
            "count": 0, "rate": 0.1, "word": "x", "flag": True, "scale": np.float64(0.3),
            "array": np.full(2, 0.7), "whole": np.arange(3),
        }  # fmt: skip

    rule, options = Rule("odd", step, start), settings(recorder=None)
    whole = train(classifier("float32"), rule, START, 8, **options)
    train(classifier("float32"), rule, START, 5, checkpoint=tmp_path / "run.npz", **options)
    continued = train(classifier("float32"), rule, START, 8, checkpoint=tmp_path / "run.npz", resume=True, **options)
    assert (whole.parameters == continued.parameters).all()
    for name, value in whole.state.items():
        assert np.all(value == continued.state[name])
        assert getattr(value, "dtype", type(value)) == getattr(continued.state[name], "dtype", type(value))


def test_what_cannot_be_saved_is_named(tmp_path):
    rule = Rule("odd", lambda problem, parameters, state, rng: (parameters, {"list": [1]}))
    with pytest.raises(ValueError, match=re.escape("must hold arrays and numbers to be saved, got 'list': [1]")):
        train(classifier(), rule, START, 1, checkpoint=tmp_path / "run.npz")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_file_before(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    train(classifier(), RULES[0], START, 3, checkpoint=path, **settings())
    before = path.read_bytes()

    def full(file, **arrays):
        file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(checkpoints.np, "savez", full)
    with pytest.raises(OSError, match="no space left"):
        train(classifier(), RULES[0], START, 5, checkpoint=path, **settings())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rule": gradient_descent(0.1, batch_size=5)}, "of the rule gradient_descent(learning_rate=0.2, momentum=0.0"),
        ({"problem": classifier("float32"), **settings("float32")}, "is of the dtype float64, got float32"),
        ({"problem": with_other("inputs")}, "is of the data "),
        ({"problem": with_other("targets")}, "is of the data "),
        ({"problem": classifier(activation="relu")}, "is of the problem "),
        ({"averages": [tail_average(5)]}, "is of the averages tail_average(4), exponential_average(0.9), got tail"),
        ({"recorder": None}, "is of the recorder every 2, "),
        ({"steps": 6}, "steps must be at least the 7 that the run has made already, got 6"),
    ],
)
def test_another_run_is_not_continued(changed, message, tmp_path):
    fit = {"problem": classifier(), "rule": RULES[0], "parameters": START, "steps": 7}
    fit |= settings(checkpoint=tmp_path / "run.npz")
    train(**fit)
    with pytest.raises(ValueError, match=re.escape(message)):
        train(**(fit | {"steps": 9, "resume": True} | changed))


RATE = 0.1


def descent(rate):
    def rule(problem, parameters, state, rng):
        return parameters - rate * problem.gradient(parameters), {}

    return rule


class Descent:
    def __init__(self, rate):
        self.rate = rate

    def __call__(self, problem, parameters, state, rng):
        return parameters - self.rate * problem.gradient(parameters), {}


def scaled(scale):
    return functools.partial(lambda scale, problem, parameters, state, rng: (scale * parameters, {}), scale)


def at_the_rate_of_the_module(problem, parameters, state, rng):
    return parameters - RATE * problem.gradient(parameters), {}


def perceptron(activation):
    """One name for two networks with as many parameters."""
    return dataclasses.replace(bridge.mlp([3, 4, 3], activation), name="perceptron")


def problem_of(network):
    rng = np.random.default_rng(0)
    return bridge.Problem(network, rng.standard_normal((10, 3)), rng.integers(0, 3, 10))


def recorded(slope, data=0):
    test = problem_of(perceptron("tanh"))
    test.inputs[0, 0] += data
    extra = {"slope": lambda problem, parameters: slope * parameters[0]}
    return Recorder(extra=extra, preconditioner=lambda state: slope * np.ones(31), test=test)


def mean_of(shift):
    return [Average("mean", 0, lambda step, parameters, average: average + shift)]


@pytest.mark.parametrize(
    ("name", "made", "message"),
    [
        ("rule", descent, "of another rule: its step.rate is 0.1, got 0.2"),
        ("rule", Descent, "of another rule: its step.rate is 0.1, got 0.2"),
        ("rule", scaled, "of another rule: its step.arguments.0 is 0.1, got 0.2"),
        ("rule", lambda rate: descent(np.full(2, rate)[0] * np.ones(31)), "another rule: its step.rate is array (31,)"),
        ("rule", lambda rate: lambda p, w, state, rng: (w - (rate > 0.15), {}), "another rule: its step.rate is 0.1"),
        ("recorder", recorded, "of another recorder: its extra.slope.slope is 0.1, got 0.2"),
        ("recorder", lambda rate: recorded(1.0, rate), "of another recorder: its test.inputs is array (10, 3) float64"),
        ("averages", mean_of, "of another averages: its 0.update.shift is 0.1, got 0.2"),
        ("problem", lambda rate: problem_of(perceptron("tanh" if rate < 0.15 else "relu")), "of another network: its "),
    ],
)
def test_what_has_the_same_name_and_other_contents_is_not_continued(name, made, message, tmp_path):
    fit = {"problem": problem_of(perceptron("tanh")), "rule": gradient_descent(0.1), "parameters": START, "steps": 3}
    fit |= {"checkpoint": tmp_path / "run.npz", "resume": True}
    train(**(fit | {name: made(0.1)}))
    assert train(**(fit | {name: made(0.1), "steps": 4})).step == 4
    with pytest.raises(ValueError, match=re.escape(message)):
        train(**(fit | {name: made(0.2), "steps": 5}))


def test_what_a_rule_takes_from_its_module_counts(tmp_path, monkeypatch):
    fit = {"problem": classifier(), "rule": at_the_rate_of_the_module, "parameters": START, "steps": 3}
    fit |= {"checkpoint": tmp_path / "run.npz", "resume": True}
    train(**fit)
    monkeypatch.setitem(globals(), "RATE", 0.2)
    with pytest.raises(ValueError, match=re.escape("of another rule: its step.RATE is 0.1, got 0.2")):
        train(**fit)


def test_code_is_compared_within_one_python():
    here, changed = contents(lambda x: x + 1), contents(lambda x: x - 1)
    assert difference(changed, here)[0] == "code"
    assert difference({"code": changed["code"].replace("Python 3", "Python 2")}, here) is None
    assert difference({}, here)[1] == "nothing"
    assert difference(here, contents(lambda x: x + 1)) is None


def test_contents_of_anything_end():
    loop: list = [np.random.default_rng(0), np.sum, len, {1: object()}, {2, 1}, np.array(["a"], dtype=object)]
    loop.append(loop)
    assert contents(loop)["6"] == "itself"
    assert difference(contents(loop), contents(loop)) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("parameters", np.zeros(3)), ("parameters", np.full(31, np.nan)), ("parameters", None),
        ("average/tail_average(1)", None), ("average/tail_average(1)", np.zeros(2)), ("state/velocity", np.array("x")),
        ("step", -1), ("step", 2.5), ("step", "3"), ("state", 7), ("rng", None), ("rng", {"bit_generator": "seed"}),
        ("identity", 3), ("identity", {}), ("text", "[" * 100_000), ("history/loss/steps", None),
    ],
)  # fmt: skip
def test_a_damaged_file_is_not_continued(name, value, tmp_path):
    path = tmp_path / "run.npz"
    fit = {"problem": classifier(), "rule": RULES[1], "parameters": START, "steps": 3, "averages": [tail_average(1)]}
    train(checkpoint=path, recorder=Recorder(), rng=0, **fit)
    with np.load(path) as file:
        arrays = dict(file)
    text = json.loads(str(arrays["text"]))
    if name == "text":
        arrays[name] = np.array(value)
    elif name in text:
        arrays["text"] = np.array(json.dumps(text | {name: value}))
    elif value is None:
        del arrays[name]
    else:
        arrays[name] = value
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=r"checkpoint .*run.npz is (not a file written by train|of the problem)"):
        train(checkpoint=path, recorder=Recorder(), resume=True, **fit)


@pytest.mark.parametrize("part", [0.01, 0.3, 0.5, 0.9, 0.99])
def test_a_file_that_is_cut_or_has_another_byte_is_not_continued(part, tmp_path):
    path = tmp_path / "run.npz"
    train(classifier(), RULES[1], START, 3, checkpoint=path)
    data = path.read_bytes()
    place, arrays = int(part * len(data)), data.index(b"parameters.npy") + 150
    other = data[:arrays] + bytes([data[arrays] ^ 255]) + data[arrays + 1 :]
    for damaged in (data[:place], other):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="is not a file written by train"):
            train(classifier(), RULES[1], START, 3, checkpoint=path, resume=True)


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-30], lambda data: b"words"])
def test_a_damaged_history_is_named(damage, tmp_path):
    path = tmp_path / "history.npz"
    train(classifier(), RULES[1], START, 2, recorder=Recorder()).history.save(path)
    assert len(History.load(path)["loss"].values) == 3
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"history.npz is not a file written by History.save"):
        History.load(path)


def write_numpy(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def write_arrays(path):
    with path.open("wb") as file:
        np.savez(file, parameters=np.zeros(3))


@pytest.mark.parametrize(
    "write", [lambda path: path.write_text("words"), lambda path: path.write_bytes(b""), write_numpy, write_arrays]
)
def test_another_file_is_not_continued(write, tmp_path):
    path = tmp_path / "run.npz"
    write(path)
    with pytest.raises(ValueError, match=r"run.npz is not a file written by train \("):
        train(classifier(), RULES[0], START, 2, checkpoint=path, resume=True)


def test_a_file_of_another_format_is_not_continued(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    monkeypatch.setattr(checkpoints, "FORMAT", 7)
    train(classifier(), RULES[0], START, 2, checkpoint=path)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=re.escape("must have format 1, got 7")):
        train(classifier(), RULES[0], START, 2, checkpoint=path, resume=True)


def test_a_file_holds_plain_arrays_alone(tmp_path):
    path = tmp_path / "run.npz"
    train(classifier(), RULES[1], START, 4, checkpoint=path, **settings())
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    assert (arrays["parameters"] == iterates(RULES[1], classifier(), START, 4, rng=5)[-1]).all()
    assert {array.dtype.kind for array in arrays.values()} <= {"f", "i", "b", "U"}
