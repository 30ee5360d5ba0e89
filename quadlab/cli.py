"""The command line: list, show, verify, challenge, figure.

Exit codes: 0 all verified, 1 something refuted, 2 something inconclusive, 3 an error (bad input among them),
130 interrupted, 143 terminated, 141 nobody reads what is printed.
"""

import json
import logging
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

import quadlab
from quadlab import shell

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Theorems about training dynamics: call, derive, simulate, plot and try to break them.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

# the base of typer's usage errors, wherever the installed version of typer keeps click
USAGE_ERROR: Any = typer.BadParameter.__base__


class Budget(StrEnum):
    """How closely simulations decide: within 2 %, 1 % or 0.5 %; experiments on networks run more seeds instead."""

    quick = "quick"
    standard = "standard"
    deep = "deep"


Targets = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID or PATH]...", help="Theorem ids or files; all but experiments if none."),
]
Paper = Annotated[str | None, typer.Option(help="Only the theorems of this paper (a folder of paper_checks).")]
Seed = Annotated[int | None, typer.Option("--rng", min=0, help="Seed; fresh entropy if not given.")]
BudgetOption = Annotated[Budget, typer.Option(help="Simulations within 2 %, 1 % or 0.5 %; seeds of experiments.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON lines and nothing else.")]


def main(arguments=None):
    """Run the command line; errors are one sentence on standard error and exit code 3."""
    sentences = {USAGE_ERROR: lambda error: error.format_message()}
    sentences |= dict.fromkeys((ValueError, OSError, ArithmeticError, RuntimeError), str)
    shell.readable_streams()
    with shell.signals(until_the_end=arguments is None), shell.one_line_warnings():
        code = shell.exit_code_of(lambda: _run(sys.argv[1:] if arguments is None else arguments), sentences)
    sys.exit(code)


def _run(arguments):
    # not as click runs a command, which makes its own of interruptions, of the end of an input and of closed pipes
    command = typer.main.get_command(app)
    try:
        with command.make_context("quadlab", list(arguments)) as context:
            return command.invoke(context)
    except typer.Exit as end:
        return end.exit_code


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
):
    if version:
        print(quadlab.__version__)
    elif context.invoked_subcommand is None:
        print(context.get_help())


def _chosen(targets, paper, experiments=False):
    from quadlab.verify import load, theorem_files

    if targets and paper:
        raise ValueError("give either theorems or --paper, got both")
    return [load(target) for target in targets or theorem_files(paper, experiments=experiments)]


def _say_what_was_left(command):
    """One line for each folder of experiments, which a command without targets leaves out."""
    from quadlab.verify import papers, theorem_files
    from quadlab.verify.library import EXPERIMENTS

    for paper in sorted(set(EXPERIMENTS) & set(papers())):
        count = len(theorem_files(paper))
        what = "1 experiment on networks was" if count == 1 else f"{count} experiments on networks were"
        print(f"{what} not run: quadlab {command} --paper {paper}")


@app.command("list")
def list_theorems(paper: Paper = None, as_json: AsJson = False):
    """List theorems and experiments: id, kind, title."""
    from quadlab.verify import paper_of

    for theorem in _chosen(None, paper, experiments=True):
        entry = {"id": theorem.id, "paper": paper_of(theorem), "kind": theorem.kind, "title": theorem.title}
        print(json.dumps(entry) if as_json else f"{theorem.id:<34} {theorem.kind:<11} {theorem.title}")


@app.command()
def show(target: Annotated[str, typer.Argument(metavar="ID or PATH")]):
    """Show a theorem: statement, domain, derivation steps, caveats, source."""
    from quadlab.report.tables import describe
    from quadlab.verify import load

    print(describe(load(target)))


@app.command()
def verify(
    targets: Targets = None,
    paper: Paper = None,
    budget: BudgetOption = Budget.standard,
    seed: Seed = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of results.jsonl; the user's state folder if not given.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Continue the latest run in that folder.")] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            help="CSV file: check on the least squares it poses. NPZ file: train the experiments' networks on it."
        ),
    ] = None,
    target: Annotated[str | None, typer.Option(help="Column of the CSV file that is predicted.")] = None,
    as_json: AsJson = False,
):
    """Verify theorems and print a verdict for each, with the evidence and the mutation score."""
    from quadlab.folders import user_folder
    from quadlab.report.script import exit_code
    from quadlab.report.tables import one_line, summary, table, witness_text
    from quadlab.verify import Store, verify_all

    problem = _problem(data, target)
    chosen = _chosen(targets, paper, experiments=problem is not None)
    if problem is not None:
        total, chosen = len(chosen), _fit_for(problem, chosen)
        if not as_json:
            dropped = getattr(problem, "dropped", ())
            left_out = f", constant columns left out: {', '.join(dropped)}" if dropped else ""
            print(f"{len(chosen)} of {total} theorems can be checked on data; {problem!r}{left_out}", flush=True)
    kept = out or user_folder("state", "results are kept in a temporary folder")
    store, entries = Store(kept or tempfile.mkdtemp(prefix="quadlab-")), []
    terminal = sys.stdout.isatty() and not as_json
    try:
        with _Progress(len(chosen), show=terminal) as progress:
            for entry in verify_all(
                chosen, store, rng=seed, budget=budget.value, problem=problem, resume=resume, progress=progress.say
            ):
                entries.append(entry)
                progress.advance()
                if not terminal:
                    print(json.dumps(entry) if as_json else one_line(entry), flush=True)
    except KeyboardInterrupt:
        where = f"{len(entries)} of {len(chosen)} results are in {store.path}"
        again = "--resume" if kept else f"--out {store.path.parent} --resume"
        print(f"interrupted: {where}; {again} continues", file=sys.stderr)
        return shell.interruption()
    if terminal:
        table(entries)
    if not as_json:
        for entry in entries:
            if entry["witness"]:
                print(f"{entry['id']} is wrong at {witness_text(entry['witness'])}")
        print(summary(entries))
        print(f"seed {entries[0]['seed']}, results in {store.path}")
        if not (targets or paper) and problem is None:
            _say_what_was_left("verify")
    return exit_code(entry["verdict"] for entry in entries)


# a formula may begin with a minus and any letter, h among them
@app.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})
def challenge(
    target: Annotated[str, typer.Argument(metavar="ID or PATH", help="`quadlab show ID` names arguments and claims.")],
    formula: Annotated[str, typer.Argument(metavar="FORMULA", help='Such as "2 / learning_rate".')],
    claim: Annotated[str, typer.Option(help="Which of the theorem's claims.")] = "main",
    budget: BudgetOption = Budget.standard,
    seed: Seed = None,
    as_json: AsJson = False,
):
    """Judge your own formula by a theorem's evidence; says where it is wrong."""
    from quadlab.report.script import exit_code
    from quadlab.report.tables import ranges_text, witness_text
    from quadlab.verify import CONSISTENT, load
    from quadlab.verify.store import plain

    result = load(target).challenge(formula, claim=claim, budget=budget.value, rng=seed)
    if as_json:
        evidence = [
            {"kind": e.kind, "verdict": e.verdict.word, "reason": e.verdict.reason, "witness": e.verdict.witness}
            for e in result.evidence
        ]
        verdict = result.verdict
        entry = {"id": result.id, "formula": formula, "verdict": verdict.word, "reason": verdict.reason}
        print(json.dumps(plain({**entry, "witness": verdict.witness, "evidence": evidence, "seed": result.seed})))
    else:
        print(f"{result.verdict.word}: {formula}   as a formula for {result.id}")
        if result.verdict.word == CONSISTENT:
            print(f"  {result.verdict.reason}")
        for item in result.evidence:
            print(f"  {item.kind:<10} {item.verdict}")
            if item.verdict.witness:
                print(f"             at {witness_text(item.verdict.witness)}")
            elif "drawn_from" in item.figures:
                print(f"             at {item.figures['points']} points, {ranges_text(item.figures['drawn_from'])}")
    return exit_code([result.verdict.word])


@app.command()
def figure(
    targets: Targets = None,
    paper: Paper = None,
    out: Annotated[Path, typer.Option(help="Folder of the figures.")] = Path("figures"),
    seed: Annotated[int, typer.Option("--rng", min=0, help="Seed of the simulated points.")] = 0,
    reuse_data: Annotated[bool, typer.Option("--reuse-data", help="Draw from the CSV files that are there.")] = False,
):
    """Regenerate figures: a CSV with the data and an SVG for people."""
    from quadlab.report.figures import regenerate
    from quadlab.verify import file_of

    # without a home, Matplotlib says so once more
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    chosen = [theorem for theorem in _chosen(targets, paper) if theorem.figure is not None]
    if not chosen:
        raise ValueError("none of the chosen theorems has a figure")
    for theorem in chosen:
        file = file_of(theorem)
        _, picture = regenerate(theorem.figure, out / file.parent.name / file.stem, rng=seed, reuse_data=reuse_data)
        print(picture, flush=True)
    if not (targets or paper):
        _say_what_was_left("figure")


def _fit_for(problem, chosen):
    """Those of the chosen theorems that can be checked on a problem; experiments, if it is data for networks."""
    from quadlab.bridge import Dataset
    from quadlab.verify import experiments

    networks = isinstance(problem, Dataset)
    fit = [theorem for theorem in chosen if theorem.on_problem and (theorem.id in experiments()) == networks]
    if not fit:
        what = "experiments on networks" if networks else "theorems"
        raise ValueError(f"none of the chosen theorems can be checked on these data; {what} can")
    return fit


def _problem(data, target):
    if data is not None and data.suffix == ".npz":
        from quadlab.bridge import from_npz

        if target is not None:
            raise ValueError(f"--target names a column of a CSV file, and {data} is an NPZ file")
        return from_npz(data)
    if (data is None) != (target is None):
        raise ValueError("--data and --target must be given together")
    if data is None:
        return None
    from quadlab.problems import LeastSquares

    return LeastSquares.from_csv(data, target, standardize=True)


class _Progress:
    """A bar on a terminal; silent elsewhere, where each result is printed as a line."""

    def __init__(self, total, show):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

        columns = (SpinnerColumn("line"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
        self.bar = Progress(*columns, transient=True, disable=not show)
        self.task = self.bar.add_task("", total=total)

    def __enter__(self):
        self.bar.start()
        return self

    def __exit__(self, *failure):
        self.bar.stop()

    def say(self, theorem, line):
        shell.stop_if_interrupted()
        self.bar.update(self.task, description=line)

    def advance(self):
        shell.stop_if_interrupted()
        self.bar.advance(self.task)


if __name__ == "__main__":
    main()
