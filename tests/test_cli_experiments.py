"""Experiments on networks on the command line: apart from theorems, run when named, trained on a user's arrays."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from quadlab import bridge
from quadlab.verify import library

EXPERIMENT = """
import numpy as np
from quadlab.report import Figure, Panel, measured
from quadlab.theory.intervals import positive
from quadlab.verify import TIGHT, Domain, Replication, Runs, Theorem

def train(setting, seed, budget):
    return {"sharpness": 2 / setting["learning_rate"] * (1 + np.random.default_rng(seed).normal(0, 1e-3))}

THEOREM = Theorem(
    id="net.edge", title="an edge", source="me", statement="2 / rho", kind=TIGHT,
    domain=Domain(learning_rate=positive), formula=lambda learning_rate: 2 / learning_rate,
    simulation=Replication(
        settings=({"learning_rate": 0.1}, {"learning_rate": 0.2}), runs=Runs(train), margin=0.05,
        observed=lambda setting, run: run["sharpness"], observable="sharpness at the end", units="loss",
    ),
    mutants={"half": "1 / learning_rate"},
    figure=Figure(lambda rng: measured("edge", "s", 1, 2, 0.1), (Panel("edge", "x", "y"),)),
)
"""
LEFT_OUT = "1 experiment on networks was not run: quadlab {} --paper deep_nets"


@pytest.fixture
def checks(tmp_path, monkeypatch, theorem_text):
    """A folder paper_checks with one theorem and one experiment."""
    for folder, text in (("a_paper", theorem_text.format(formula="a**2")), ("deep_nets", EXPERIMENT)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "it.py").write_text(text)
    monkeypatch.setattr(library, "checks_folder", lambda: tmp_path)
    monkeypatch.setattr(library, "theorems", cache(library.theorems.__wrapped__))
    return tmp_path


def verified(output):
    return [line.split()[1] for line in output.splitlines() if line.startswith("VERIFIED")]


def test_experiments_are_listed_but_run_only_when_they_are_named(run, checks):
    assert [line.split()[0] for line in run("list")[1].splitlines()] == ["mine.square", "net.edge"]
    out = checks / "out"
    code, printed, _ = run("verify", "--out", out)
    assert (code, verified(printed)) == (0, ["mine.square"])
    assert printed.splitlines()[-1] == LEFT_OUT.format("verify")
    code, printed, _ = run("verify", "--out", out, "--json")
    assert (code, [json.loads(line)["id"] for line in printed.splitlines()]) == (0, ["mine.square"])
    for named in (["--paper", "deep_nets"], ["net.edge"], [checks / "deep_nets" / "it.py"]):
        code, printed, _ = run("verify", *named, "--out", out, "--rng", 1)
        assert (code, verified(printed)) == (0, ["net.edge"])
        assert "not run" not in printed
    assert "not run" not in run("verify", "--paper", "a_paper", "--out", out)[1]


def test_the_line_counts_the_experiments(run, checks):
    text = (checks / "deep_nets" / "it.py").read_text()
    (checks / "deep_nets" / "other.py").write_text(text.replace("net.edge", "net.other"))
    assert "\n2 experiments on networks were not run: quadlab verify" in run("verify", "--out", checks / "out")[1]
    (checks / "deep_nets" / "it.py").unlink()
    (checks / "deep_nets" / "other.py").unlink()
    code, printed, _ = run("verify", "--out", checks / "out")
    assert (code, verified(printed)) == (0, ["mine.square"])
    assert "not run" not in printed


def test_data_say_nothing_of_experiments(run, checks):
    shipped = Path(__file__).resolve().parent.parent / "paper_checks" / "vl_edge_of_stability" / "expected_descent.py"
    (checks / "a_paper" / "it.py").write_bytes(shipped.read_bytes())
    (checks / "my.csv").write_text("\n".join(["x,goal", *(f"{k % 7},{k % 11}" for k in range(60))]))
    code, printed, err = run("verify", "--data", checks / "my.csv", "--target", "goal", "--out", checks / "out")
    assert (code, verified(printed)) == (0, ["vl.expected-descent"]), err
    assert "not run" not in printed


def test_figures_of_experiments_are_drawn_when_they_are_named(run, checks):
    (checks / "a_paper" / "it.py").write_text(EXPERIMENT.replace("net.edge", "mine.square"))
    code, printed, _ = run("figure", "--out", checks / "out")
    assert (code, printed.splitlines()) == (0, [str(checks / "out" / "a_paper" / "it.svg"), LEFT_OUT.format("figure")])
    code, printed, _ = run("figure", "--paper", "deep_nets", "--out", checks / "out")
    assert (code, printed.splitlines()) == (0, [str(checks / "out" / "deep_nets" / "it.svg")])


def test_an_experiment_is_shown_verified_and_challenged(run, checks):
    code, shown, _ = run("show", "net.edge")
    assert code == 0
    assert "sharpness at the end (loss): at most 0.05 from the prediction, relative to it, at each of\n" in shown
    assert "on several seeds: 2 quick, 4 standard, 8 deep" in shown
    (checks / "upper.py").write_text(EXPERIMENT.replace("kind=TIGHT", 'kind="upper"'))
    assert "(loss): at most 0.05 above the prediction" in run("show", checks / "upper.py")[1]
    code, printed, _ = run("verify", "net.edge", "--out", checks / "out", "--rng", 1, "--budget", "deep")
    assert (code, printed.split()[:3]) == (0, ["VERIFIED", "net.edge", "replicated"])
    (item,) = json.loads((checks / "out" / "results.jsonl").read_text())["evidence"]
    assert [row["seeds"] for row in item["comparisons"]] == [8, 8]
    code, printed, _ = run("challenge", "net.edge", "2.2 / learning_rate", "--rng", 0)
    assert code == 1
    assert "  replicated REFUTED: difference in [-" in printed
    assert run("challenge", "net.edge", "2 / learning_rate", "--rng", 0)[0] == 0


def test_a_run_that_fails_is_one_line(run, checks):
    broken = EXPERIMENT.replace("    return {", "    raise OSError('the disk\\nis full')\n    return {")
    drawn = 'Figure(lambda rng: THEOREM.simulation.runs.made(({"learning_rate": 0.1},), 1, rng=rng, budget="quick"), '
    broken = broken.replace('Figure(lambda rng: measured("edge", "s", 1, 2, 0.1), ', drawn)
    (checks / "deep_nets" / "it.py").write_text(broken)
    code, printed, _ = run("verify", "net.edge", "--out", checks / "out", "--rng", 1)
    assert code == 3
    assert "failed: OSError: the disk is full\n1 theorem: 1 ERROR" in printed
    code, printed, err = run("figure", "net.edge", "--out", checks / "out")
    assert (code, printed, err.count("\n")) == (3, "", 1)
    assert err.startswith("quadlab: error: the run at learning_rate = 0.1 with seed ")


def test_an_experiment_trains_on_arrays_of_the_user(run, tmp_path):
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((60, 5))
    np.savez(tmp_path / "mine.npz", inputs=inputs, targets=(inputs[:, 0] > 0).astype(int))
    options = ["--data", tmp_path / "mine.npz", "--budget", "quick", "--rng", 1, "--out", tmp_path]
    code, out, _ = run("verify", "net.gradient-descent-edge", *options)
    assert code in (0, 1, 2), out
    assert "Dataset(mine, inputs (5,), 2 outputs, 48 to train, 12 to test)" in out
    (entry,) = map(json.loads, (tmp_path / "results.jsonl").read_text().splitlines())
    (evidence,) = entry["evidence"]
    assert (entry["id"], evidence["kind"], evidence["claim"]) == (
        "net.gradient-descent-edge", "replicated", "main on mine",
    )  # fmt: skip
    data = bridge.from_npz(tmp_path / "mine.npz")
    problem = bridge.Problem(bridge.mlp([5, 50, 50, 2]), data.inputs, data.targets)
    rows = evidence["comparisons"] + evidence["premise_not_met"]
    assert len(rows) == 2
    for row in rows:
        for made in row["runs"]:
            start = problem.network.initial(np.random.default_rng(made["seed"]))
            exact = bridge.top_eigenpairs(problem.hessian(start), rng=0).values[0]
            assert made["measured"]["initial"] == pytest.approx(exact, rel=1e-3)


def test_data_for_networks_must_fit(run, tmp_path):
    np.savez(tmp_path / "mine.npz", inputs=np.ones((6, 2)), targets=np.zeros(6, dtype=int))
    code, _, err = run("verify", "--data", tmp_path / "mine.npz", "--target", "y")
    assert (code, "names a column of a CSV file" in err) == (3, True)
    code, _, err = run("verify", "vl.noise-ball", "--data", tmp_path / "mine.npz")
    assert (code, "experiments on networks can" in err) == (3, True)
    code, _, err = run("verify", "--data", tmp_path / "none.npz")
    assert (code, "there is no file" in err) == (3, True)
