"""Simulate a rule on the eigenmodes of a quadratic, compiled."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from quadlab.simulate.chunks import chunk_sizes, recorded_steps, run_chunks
from quadlab.simulate.compiled import kernel, kernel_source
from quadlab.simulate.ensemble import LARGEST_STATE, DivergenceError, Ensemble, Moments
from quadlab.theory.intervals import real, whole_positive
from quadlab.theory.seeds import seed_sequence

__all__ = ["Snapshot", "simulate"]


@dataclass(frozen=True)
class Snapshot:
    """What an observable sees of a chunk at a recorded step; arrays are (modes, replicas)."""

    state: Mapping[str, np.ndarray]
    previous: Mapping[str, np.ndarray]
    initial: Mapping[str, np.ndarray]
    position: str
    curvature: np.ndarray | None
    step: int

    def loss(self, when="state"):
        """curvature x^2 / 2 summed over the modes, for each replica."""
        if self.curvature is None:
            raise ValueError("the observable needs eigenvalues, and this rule has no parameter curvature")
        return 0.5 * self.curvature @ np.square(getattr(self, when)[self.position])


OBSERVABLES: dict[str, Callable[[Snapshot], np.ndarray]] = {
    "position": lambda now: now.state[now.position],
    "squared_position": lambda now: np.square(now.state[now.position]),
    "loss": lambda now: now.loss(),
    "loss_change": lambda now: now.loss() - now.loss("initial"),
    "descends": lambda now: (now.loss() < now.loss("initial")).astype(float),
    "decreases": lambda now: (now.loss() < now.loss("previous")).astype(float),
}


def simulate(
    rule,
    *,
    eigenvalues=None,
    steps,
    replicas,
    observables=("position", "squared_position"),
    initial=0.0,
    record=None,
    rng=None,
    executor=None,
    progress=None,
    **parameters,
):
    """Means of observables over independent replicas of a rule.

    Parameters
    ----------
    rule : quadlab.dynamics.UpdateRule.
    eigenvalues : (modes,) curvatures; None for a rule without the parameter `curvature`.
    steps, replicas : whole numbers >= 1.
    observables : names (a state variable, or position, squared_position, loss, loss_change, descends, decreases),
        or a mapping from a name to a function of a `Snapshot` that returns (replicas,) or (modes, replicas).
        loss_change and descends compare with the initial state, decreases with the state one step before.
    initial : the position at step 0, a number or (modes,); or a mapping from state names to such; or a function
        of (generator, (modes, replicas)) that returns either. A state not given starts at the position (memory of
        a method that starts at rest).
    record : steps at which observables are taken; the last one by default.
    rng : SPEC 7. The result depends on it, not on the executor or the number of workers.
    parameters : those of the rule, each a number or (modes,).

    Returns
    -------
    Ensemble with mean, variance and standard_error of each observable.

    Raises
    ------
    ValueError: an argument is missing, unknown or out of its domain. DivergenceError: the state grows beyond 1e100.

    >>> from quadlab.dynamics import variational_gradient_descent
    >>> ensemble = simulate(variational_gradient_descent(), eigenvalues=[1.0], steps=20, replicas=50_000,
    ...                     learning_rate=1.0, noise_variance=1.0, samples=1, rng=0)
    >>> bool(abs(ensemble.mean["squared_position"][-1, 0] - 1.0) < 0.05)
    True
    """
    steps = int(whole_positive.check("steps", steps))
    replicas = int(whole_positive.check("replicas", replicas))
    recorded = recorded_steps(record, steps)
    table, curvature = _parameter_table(rule, eigenvalues, parameters)
    functions = _observable_functions(rule, observables)
    task = partial(
        _run_chunk,
        source=kernel_source(rule),
        names=[symbol.name for symbol in rule.state],
        table=table,
        curvature=curvature,
        initial=initial,
        recorded=recorded,
        observables=functions,
    )
    sizes = chunk_sizes(replicas, table.shape[1])
    seeds = seed_sequence(rng, "simulate")
    moments = run_chunks(task, sizes, seeds, executor=executor, progress=progress)
    return Ensemble.from_moments(recorded, moments)


def _parameter_table(rule, eigenvalues, parameters):
    """(parameters, modes) values in the order of rule.parameters, and the curvature row."""
    names = [symbol.name for symbol in rule.parameters]
    if "curvature" in parameters:
        raise ValueError("the curvature is given by eigenvalues, not by a parameter")
    values = dict(parameters)
    if "curvature" in names:
        if eigenvalues is None:
            raise ValueError(f"{rule.name} needs eigenvalues, got None")
        values["curvature"] = np.atleast_1d(rule.domain["curvature"].check("eigenvalues", eigenvalues))
        if values["curvature"].ndim != 1 or values["curvature"].size == 0:
            raise ValueError(f"eigenvalues must be a non-empty vector, got shape {values['curvature'].shape}")
    elif eigenvalues is not None:
        raise ValueError(f"{rule.name} has no curvature, so eigenvalues must be None, got {eigenvalues!r}")
    checked = rule.check_parameters(values)
    modes = len(checked["curvature"]) if "curvature" in checked else 1
    for name, value in checked.items():
        if np.ndim(value) > 1 or (np.ndim(value) == 1 and np.shape(value) != (modes,)):
            raise ValueError(f"{name} must be a number or have shape ({modes},), got shape {np.shape(value)}")
    table = np.empty((len(names), modes))
    for row, name in zip(table, names, strict=True):
        row[:] = checked[name]
    return table, checked.get("curvature")


def _observable_functions(rule, observables):
    if isinstance(observables, str):
        observables = (observables,)
    states = {symbol.name: partial(_state_variable, name=symbol.name) for symbol in rule.state}
    known = {**states, **OBSERVABLES}
    if observables and isinstance(observables, Mapping):
        return dict(observables)
    for name in observables:
        if name not in known:
            raise ValueError(f"observables must be among {', '.join(known)}, got {name!r}")
    if not observables:
        raise ValueError(f"observables must name at least one of {', '.join(known)}, got none")
    return {name: None if name in OBSERVABLES else known[name] for name in observables}


def _state_variable(now, name):
    return now.state[name]


def _initial_state(initial, names, generator, shape):
    if callable(initial):
        initial = initial(generator, shape)
    given = dict(initial) if isinstance(initial, Mapping) else {names[0]: initial}
    unknown = sorted(set(given) - set(names))
    if unknown or names[0] not in given:
        raise ValueError(
            f"initial must give {names[0]} and may give {', '.join(names[1:]) or 'nothing else'}, got {given}"
        )
    state = np.empty((len(names), *shape))
    for row, name in zip(state, names, strict=True):
        value = np.asarray(real.check("initial", given.get(name, given[names[0]])))
        if value.shape not in ((), shape[:1], shape):
            raise ValueError(f"initial must be a number or have shape {shape[:1]}, got shape {value.shape}")
        row[...] = value[:, None] if value.ndim == 1 else value
    return state


def _run_chunk(size, seed, *, source, names, table, curvature, initial, recorded, observables):
    generator = np.random.Generator(np.random.PCG64(seed))
    state = _initial_state(initial, names, generator, (table.shape[1], size))
    start, previous = state.copy(), state.copy()
    advance = kernel(source)
    taken: dict[str, list[Any]] = {name: [] for name in observables}
    done = 0
    for step in recorded.tolist():
        if step > done:
            advance(generator, state, previous, table, step - done)
            done = step
        diverged = ~(np.abs(state) <= LARGEST_STATE).all(axis=(0, 1))
        if diverged.any():
            raise DivergenceError(int(diverged.sum()), size, step)
        views = ({name: part[k] for k, name in enumerate(names)} for part in (state, previous, start))
        state_now, state_before, state_first = views
        now = Snapshot(state_now, state_before, state_first, names[0], curvature, step)
        for name, function in observables.items():
            taken[name].append(Moments.of((function or OBSERVABLES[name])(now), name, step))
    return {name: Moments.stack(parts) for name, parts in taken.items()}
