"""Promises about the package as a whole."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import quadlab

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"sympy", "numba", "scipy", "matplotlib", "z3", "flint", "sklearn", "rich", "typer"}


def loaded_after(statement):
    code = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import quadlab",
        "from quadlab.theory import stability, variational; variational.descent_sharpness_limit(1.0, 1.0)",
    ],
)
def test_imports_cost_nothing(statement):
    assert not loaded_after(statement) & HEAVY


def test_subpackages_are_loaded_when_used():
    for name in quadlab.__all__[1:]:
        assert getattr(quadlab, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = quadlab.nothing


def test_imports_go_down_only():
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_one_version_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == quadlab.__version__
    assert f"version: {quadlab.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_every_public_name_exists_and_is_documented():
    for name in quadlab.__all__[1:]:
        package = getattr(quadlab, name)
        for public in getattr(package, "__all__", ()):
            thing = getattr(package, public)
            assert callable(thing) is False or thing.__doc__, f"{name}.{public} has no docstring"
