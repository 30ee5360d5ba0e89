"""Compiled kernels: the names in their source, and the cache that their machine code is kept in."""

import os
import pickle
import subprocess
import sys

import numba
import numpy as np
import pytest
import sympy

from quadlab import dynamics, folders
from quadlab.dynamics import Law, Noise, UpdateRule
from quadlab.simulate import kernels, simulate
from quadlab.simulate.compiled import kernel, kernel_source
from quadlab.simulate.kernels import KernelCache


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """A cache folder of this test's own."""
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache"))
    monkeypatch.setattr(folders, "_warned", False)
    return tmp_path / "cache"


def compilations(source="one more"):
    """How many signatures a new process compiles, as Numba counts them."""
    function = numba.njit(nogil=True)(one_more)
    function._cache = KernelCache(source)
    assert function(1.0) == 2.0
    return sum(function.stats.cache_misses.values())


def one_more(x):
    return x + 1


def test_machine_code_is_kept(cache):
    assert (compilations(), compilations(), compilations("another")) == (1, 0, 1)
    assert len(list((cache / "kernels").iterdir())) == 2


def test_a_simulation_keeps_its_kernel_and_takes_it_up(cache):
    options = {"eigenvalues": 1.0, "learning_rate": 0.5, "steps": 2, "replicas": 3, "initial": 1.0}
    misses = []
    for _ in range(2):
        kernel.cache_clear()
        assert simulate(dynamics.gradient_descent(), **options).mean["position"].item() == 0.25
        misses.append(sum(kernel(kernel_source(dynamics.gradient_descent())).stats.cache_misses.values()))
    assert misses == [1, 0]


def test_a_kernel_is_its_function_where_numba_is_switched_off(monkeypatch):
    monkeypatch.setattr(numba, "njit", lambda **options: lambda function: function)
    state = np.ones((1, 1, 4))
    source = kernel_source(dynamics.gradient_descent())
    kernel.__wrapped__(source)(None, state, state.copy(), np.array([[1.0], [0.5]]), 2)
    assert (state == 0.25).all()


def resealed(path, payload):
    """What a process that knows the digest, but not this version, might leave."""
    path.write_bytes(kernels._digest(path, payload) + payload)


DAMAGE = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "cut to its digest": lambda path: path.write_bytes(path.read_bytes()[:32]),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"\x80\x04garbage" * 99),
    "one bit": lambda path: path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1])),
    "another's": lambda path: compilations("another") and max(path.parent.iterdir(), key=os.path.getmtime).rename(path),
    "no pickle": lambda path: resealed(path, b"no pickle"),
    "another version's": lambda path: resealed(path, pickle.dumps(("what", "it", "kept"))),
    "nested": lambda path: resealed(path, b"\x80\x04" + b"]" * 10**5 + b"a" * 10**5 + b"."),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_is_damaged_counts_as_absent_and_is_written_again(cache, damage):
    assert compilations() == 1
    (path,) = (cache / "kernels").iterdir()
    damage(path)
    assert (compilations(), compilations()) == (1, 0)


def as_folder(cache):
    compilations()
    (path,) = (cache / "kernels").iterdir()
    path.unlink()
    path.mkdir()


def blocked(cache):
    cache.write_text("")


def kernels_blocked(cache):
    cache.mkdir()
    (cache / "kernels").write_text("")


@pytest.mark.parametrize("prepare", [as_folder, blocked, kernels_blocked])
def test_where_nothing_can_be_kept_there_is_one_warning(cache, prepare):
    prepare(cache)
    with pytest.warns(UserWarning, match="cannot be written .*: compiled kernels are not kept") as caught:
        assert (compilations(), compilations()) == (1, 1)
    assert len(caught) == 1


def test_without_a_home_nothing_is_written_into_the_working_folder(tmp_path):
    """An account that is in no list of accounts, of whose home nothing is known."""
    script = (
        "import os, platformdirs; os.path.expanduser = lambda path: path\n"
        "from quadlab import dynamics, simulate\n"
        "for rate in (0.1, 0.2): simulate.simulate(dynamics.gradient_descent(), eigenvalues=1.0, learning_rate=rate,"
        " steps=1, replicas=1, rng=0)\n"
    )
    clean = {name: value for name, value in os.environ.items() if name != "HOME" and not name.startswith("XDG_")}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("UserWarning") == 1
    assert "there is no folder for the cache" in done.stderr
    assert list(tmp_path.iterdir()) == []


def numbers_of(names, noise_names=("xi", "zeta")):
    """The mean after a step of x+ = a + 2 b + 0 (xi + zeta), by the names of x, a and b."""
    x, (a, b) = sympy.Symbol(names[0]), (sympy.Symbol(name, positive=True) for name in names[1:])
    xi, zeta = map(sympy.Symbol, noise_names)
    rule = UpdateRule("named", (x,), (a + 2 * b + 0.0 * xi * zeta * x,), (Noise(xi), Noise(zeta, shared=True)))
    return simulate(rule, steps=1, replicas=3, rng=0, observables=names[0], **{names[1]: 1.5, names[2]: 1.0})


@pytest.mark.parametrize(
    "names",
    [
        ("x", "\N{MICRO SIGN}", "\N{GREEK SMALL LETTER MU}"),
        ("x", "\N{LATIN SMALL LIGATURE FI}", "fi"),
        ("lambda", "exp", "a b"),
        ("_next_0", "drawn_xi_0", "state_0"),
        ("x_0", "x_1", "p_0"),
        ("rng", "math", "np"),
        ("x", "None", ""),
        ("x", "lane", "x\ny"),
    ],
)
def test_any_names_are_three_names(names):
    """1.5 + 2 * 1.0, where a name that Python takes for another gives another number, or none."""
    assert numbers_of(names).mean[names[0]].item() == 3.5
    assert numbers_of(("x", "a", "b"), names[1:]).mean["x"].item() == 3.5


@pytest.mark.parametrize("name", ["degrees_of_freedom", "\N{MICRO SIGN}", "lambda", "a b", "standard_t", "drawn_xi_0"])
def test_a_law_finds_its_parameter_under_any_name(name):
    x, xi, a = sympy.Symbol("x"), sympy.Symbol("xi"), sympy.Symbol(name, positive=True)
    options = {"steps": 1, "replicas": 5, "rng": 0, "observables": "x"}
    rule = UpdateRule("drawn", (x,), (xi,), (Noise(xi, dynamics.student_t(a)),))
    usual = UpdateRule("drawn", (x,), (xi,), (Noise(xi, dynamics.student_t(sympy.Symbol("b", positive=True))),))
    named = simulate(rule, **options, **{name: 5.0}).mean["x"]
    assert np.array_equal(named, simulate(usual, **options, b=5.0).mean["x"])


def test_a_sum_may_be_the_number_of_draws():
    one = Law("one", (sympy.Integer(1),) * 4, "1.0")
    x, xi, n = sympy.symbols("x xi n", positive=True)
    rule = UpdateRule("counted", (x,), (xi,), (Noise(xi, one, n + 1),))
    assert simulate(rule, steps=1, replicas=1, observables="x", n=3.0, rng=0).mean["x"].item() == 1.0
