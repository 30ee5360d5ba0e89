"""Compiled kernels: their source, and the cache they are kept in."""

import numpy as np

from quadlab import dynamics
from quadlab.simulate import simulate
from quadlab.simulate.compiled import kernel, kernel_source

RULE = dynamics.variational_gradient_descent()


def run(replicas):
    parameters = {"learning_rate": 0.8, "noise_variance": 1.0, "samples": 2}
    return simulate(RULE, steps=3, replicas=replicas, initial=1.0, rng=7, eigenvalues=0.5, **parameters)


def test_kernels_work_where_no_cache_can_be_written(monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(blocked))
    kernel.cache_clear()
    try:
        assert np.array_equal(run(replicas=100).mean["position"], run(replicas=100).mean["position"])
    finally:
        kernel.cache_clear()


def test_a_tampered_cache_file_is_rewritten(monkeypatch, tmp_path):
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path))
    kernel.cache_clear()
    try:
        run(replicas=10)
        (stored,) = (tmp_path / "kernels").glob("*.py")
        stored.write_text("raise SystemExit('not ours')")
        kernel.cache_clear()
        run(replicas=10)
        assert "advance" in stored.read_text()
    finally:
        kernel.cache_clear()


def test_kernel_source_names_every_parameter():
    source = kernel_source(RULE)
    for name in ("curvature", "learning_rate", "noise_variance", "samples", "rng.standard_normal()"):
        assert name in source
