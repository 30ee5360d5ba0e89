"""The command line as a user meets it: output, exit codes, one-sentence errors."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from quadlab import verify as v


@pytest.fixture
def mine(tmp_path, theorem_text):
    def write(formula="a**2"):
        file = tmp_path / f"theorem{abs(hash(formula))}.py"
        file.write_text(theorem_text.format(formula=formula))
        return file

    return write


def test_list_names_every_theorem(run):
    code, out, _ = run("list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(v.theorems())
    for paper in v.papers():
        code, out, _ = run("list", "--paper", paper, "--json")
        assert {json.loads(line)["paper"] for line in out.splitlines()} == {paper}


def test_show_prints_statement_domain_derivation_caveats_source(run):
    code, out, _ = run("show", "vl.descent-edge")
    assert code == 0
    for text in ("Ghosh et al. 2025", "statement", "learning_rate in (0, inf)", "derivation", "what it does not say"):
        assert text in out
    assert "these must vanish: the cubic at the root" in out


def test_verify_prints_a_line_for_each_theorem_and_a_summary(run, mine, tmp_path):
    code, out, _ = run("verify", mine(), "--out", tmp_path, "--rng", 1)
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split()[:2] == ["VERIFIED", "mine.square"]
    assert lines[1].startswith("1 theorem: 1 VERIFIED; mutants refuted 1 of 1;")
    assert lines[2] == f"seed 1, results in {tmp_path / 'results.jsonl'}"


def test_verify_json_prints_what_it_stores(run, mine, tmp_path):
    code, out, _ = run("verify", mine(), "--out", tmp_path, "--json")
    assert code == 0
    assert out == (tmp_path / "results.jsonl").read_text()


def test_a_wrong_theorem_exits_with_1_and_its_witness(run, mine, tmp_path):
    code, out, _ = run("verify", mine("2 * a**2"), "--out", tmp_path)
    assert code == 1
    assert "mine.square is wrong at a = " in out


def test_an_inconclusive_theorem_exits_with_2(run, mine, tmp_path):
    file = mine()
    file.write_text(file.read_text().replace('"a**3"', '"a**2"'))
    code, out, _ = run("verify", file, "--out", tmp_path)
    assert code == 2
    assert "mutants survive: cube" in out


def test_a_theorem_whose_evidence_breaks_exits_with_3(run, mine, tmp_path):
    code, out, _ = run("verify", mine("1 / 0"), "--out", tmp_path)
    assert code == 3
    assert "ZeroDivisionError" in out


def test_resume_does_not_verify_twice(run, mine, tmp_path):
    file = mine()
    run("verify", file, "--out", tmp_path, "--rng", 5)
    code, out, _ = run("verify", file, "--out", tmp_path, "--resume")
    assert code == 0
    assert "seed 5" in out
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 1


def test_interruption_keeps_what_is_finished(run, mine, tmp_path, monkeypatch):
    def interrupted(theorems, store, original=v.verify_all, **options):
        yield from original(theorems[:1], store, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr("quadlab.verify.verify_all", interrupted)
    code, _, err = run("verify", mine(), mine("a * a"), "--out", tmp_path)
    assert code == 130
    assert "interrupted: 1 of 2 results are in" in err
    assert "--resume continues" in err
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 1


def test_challenge_says_where_a_formula_is_wrong(run):
    code, out, _ = run("challenge", "vl.descent-edge", "2 / learning_rate", "--rng", 0)
    assert code == 1
    assert out.startswith("REFUTED: 2 / learning_rate   as a formula for vl.descent-edge")
    assert "signal_to_noise = " in out
    code, out, _ = run(
        "challenge", "vl.descent-edge", "learning_rate * eigenvalue**3 / (2 - eigenvalue * learning_rate)",
        "--claim", "signal needed", "--json",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out)["verdict"] == "VERIFIED"


def test_figure_draws_and_redraws(run, tmp_path):
    code, out, _ = run("figure", "vl.descent-edge", "--out", tmp_path)
    picture = tmp_path / "vl_edge_of_stability" / "descent_edge.svg"
    assert (code, out.strip()) == (0, str(picture))
    before = picture.read_bytes()
    assert run("figure", "vl.descent-edge", "--out", tmp_path, "--reuse-data")[0] == 0
    assert picture.read_bytes() == before


def test_verify_on_the_users_data(run, tmp_path):
    rows = ["x,y,goal", *(f"{k % 7},{k % 5},{k % 11}" for k in range(60))]
    (tmp_path / "my.csv").write_text("\n".join(rows))
    code, out, err = run(
        "verify",
        "vl.expected-descent",
        "--data",
        tmp_path / "my.csv",
        "--target",
        "goal",
        "--out",
        tmp_path,
        "--rng",
        2,
    )
    assert code == 0, out + err
    (line,) = (tmp_path / "results.jsonl").read_text().splitlines()
    entry = json.loads(line)
    assert entry["problem"] == "my"
    assert "main on my" in [item["claim"] for item in entry["evidence"]]


BAD = [
    (["verify", "vl.descent-egde"], "no theorem has the id 'vl.descent-egde' (closest: vl.descent-edge"),
    (["verify", "missing.py"], "there is no file missing.py"),
    (["verify", "--paper", "vl_edge"], "vl_edge_of_stability (closest: vl_edge_of_stability), got 'vl_edge'"),
    (["verify", "vl.descent-edge", "--paper", "vl_edge_of_stability"], "give either theorems or --paper"),
    (["verify", "--rng", "-1"], "Invalid value for '--rng'"),
    (["verify", "--budget", "huge"], "Invalid value for '--budget'"),
    (["verify", "--out", "/dev/null/out"], "the output folder /dev/null/out cannot be written"),
    (["verify", "--data", "my.csv"], "--data and --target must be given together"),
    (["verify", "--data", "missing.csv", "--target", "y"], "missing.csv"),
    (["show"], "Missing argument"),
    (["show", "nothing"], "no theorem has the id 'nothing'"),
    (["challenge", "vl.descent-edge", "2 / learning_rat"], "did you mean learning_rate?"),
    (["challenge", "vl.descent-edge", "import os"], "was not understood"),
    (["challenge", "vl.descent-edge", "1", "--claim", "x"], "claim must be one of main"),
    (["figure", "vl.descent-edge", "--out", "/dev/null"], "figure folder"),
    (["figure", "vl.descent-edge", "--out", "nowhere", "--reuse-data"], "there is no data to reuse"),
    (["dance"], "No such command"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_bad_input_is_one_sentence_and_exit_code_3(run, arguments, message):
    code, out, err = run(*arguments)
    assert code == 3
    assert out == ""
    assert message in err
    assert err.startswith("quadlab: error: ")
    assert err.count("\n") == 1


def test_a_theorem_that_cannot_use_data_is_refused(run, mine, tmp_path):
    (tmp_path / "my.csv").write_text("x,y\n1,2\n2,3\n4,4\n")
    code, _, err = run("verify", mine(), "--data", tmp_path / "my.csv", "--target", "y", "--out", tmp_path)
    assert code == 3
    assert "none of the chosen theorems can be checked on these data; theorems can" in err


def test_version_and_help(run):
    from quadlab import __version__

    assert run("--version")[:2] == (0, f"{__version__}\n")
    assert "challenge" in run()[1]
    assert run("verify", "--help")[0] == 0


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "quadlab", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_table_of_a_terminal_replaces_the_lines(run, mine, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    code, out, _ = run("verify", mine(), "--out", tmp_path, "--rng", 1)
    assert code == 0
    assert out.count("mine.square") == 1
    assert out.index("mutants refuted") < out.index("mine.square") < out.index("1 theorem: 1 VERIFIED")


def test_seed_and_budget_reach_the_evidence(run, tmp_path):
    target, found = "vl.expected-descent", {}
    for budget in ("quick", "standard"):
        run("verify", target, "--budget", budget, "--rng", 3, "--out", tmp_path / budget)
        entry = json.loads((tmp_path / budget / "results.jsonl").read_text())
        sampled = next(item for item in entry["evidence"] if item["kind"] == "sampled")
        found[budget] = sampled["comparisons"][0]["replicas"]
        assert (entry["budget"], entry["seed"]) == (budget, 3)
    assert found["standard"] > 3 * found["quick"]


@pytest.mark.parametrize("formula", ["-hessian**2 * gradient / 3", "-(hessian**2) * gradient / 3"])
def test_a_formula_may_begin_with_a_minus(run, formula):
    code, out, _ = run("challenge", "igr.backward-error", formula, "--rng", 0)
    assert code == 1
    assert out.startswith(f"REFUTED: {formula} ")
    assert run("challenge", "igr.backward-error", formula, "--claimm", "x")[0] == 3


def test_a_challenge_has_a_seed_and_a_budget(run, monkeypatch):
    asked = []

    def judged(self, formula, original=v.Theorem.challenge, **options):
        asked.append((options["budget"], options["rng"]))
        return original(self, formula, **options)

    monkeypatch.setattr(v.Theorem, "challenge", judged)
    _, out, _ = run("challenge", "vl.samples", "1", "--budget", "quick", "--rng", 8, "--json")
    assert asked == [("quick", 8)]
    assert json.loads(out)["seed"] == 8


def test_a_figure_is_drawn_from_its_seed(run, monkeypatch, tmp_path):
    seeds = []
    monkeypatch.setattr(
        "quadlab.report.figures.regenerate",
        lambda figure, stem, *, rng, reuse_data: (seeds.append(rng), stem),
    )
    run("figure", "vl.descent-edge", "--rng", 4, "--out", tmp_path)
    assert seeds == [4]


def test_arithmetic_errors_and_broken_files_are_one_sentence(run, mine, monkeypatch):
    file = mine()
    file.write_text("1 / 0")
    code, _, err = run("verify", file)
    assert code == 3
    assert err.startswith("quadlab: error: ")
    assert "cannot be loaded: ZeroDivisionError: division by zero" in err
    file.write_text("THEOREM = (")
    assert "cannot be loaded: SyntaxError" in run("show", file)[2]

    def diverges(target):
        raise OverflowError("too large")

    monkeypatch.setattr("quadlab.verify.load", diverges)
    assert run("show", "vl.samples")[::2] == (3, "quadlab: error: too large\n")


@pytest.mark.parametrize(
    "formula", ["1 / (eigenvalue - eigenvalue)", "sqrt(-eigenvalue)", "10**308 * eigenvalue * 10**308"]
)
def test_a_formula_without_a_finite_value_is_refuted_without_noise(run, formula):
    code, _, err = run("challenge", "vl.noise-ball", formula, "--budget", "quick", "--rng", 0)
    assert (code, err) == (1, "")


def test_the_readme_shows_what_the_challenge_prints(run):
    readme = (Path(__file__).resolve().parent.parent / "README.md").read_text()
    command, *shown = readme.partition("$ quadlab ")[2].partition("```")[0].rstrip().splitlines()
    code, out, _ = run(*shlex.split(command))
    assert code == 1
    for line, printed in zip(shown, out.splitlines(), strict=True):
        assert printed.startswith(line.removesuffix("...")) if line.endswith("...") else printed == line
