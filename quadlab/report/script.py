"""What a theorem's own file does when it is run: verify, print, draw."""

import sys
from pathlib import Path

from quadlab.report.figures import regenerate
from quadlab.report.tables import witness_text
from quadlab.shell import readable_streams
from quadlab.verify import ERROR, INCONCLUSIVE, REFUTED, VERIFIED, verify

__all__ = ["EXIT_CODES", "exit_code", "figure_stem", "run"]

EXIT_CODES = {VERIFIED: 0, REFUTED: 1, INCONCLUSIVE: 2, ERROR: 3}


def exit_code(words):
    """0 all verified, 1 something refuted, 2 something not decided (inconclusive, or consistent alone), 3 an error.

    >>> exit_code(["VERIFIED", "INCONCLUSIVE", "REFUTED"])
    1
    """
    words = set(words)
    for word in (ERROR, REFUTED):
        if word in words:
            return EXIT_CODES[word]
    return EXIT_CODES[VERIFIED if words <= {VERIFIED} else INCONCLUSIVE]


def figure_stem(file, folder=None):
    """Path, without suffix, of a theorem file's figure: `folder`/<paper>/<theorem>.

    By default the folder `figures` beside `paper_checks` in a checkout, or in the working folder otherwise.
    """
    file = Path(file).resolve()
    if folder is None:
        top = file.parent.parent.parent
        folder = top / "figures" if (top / "pyproject.toml").is_file() else Path("figures")
    return Path(folder) / file.parent.name / file.stem


def run(theorem, *, rng=0):
    """Verify the theorem, print its evidence, regenerate its figure; return the exit code."""
    readable_streams()
    report = verify(theorem, rng=rng)
    print(f"{theorem.id}: {theorem.title}\n{theorem.source}\n")
    for item in report.evidence:
        claim = "" if item.claim == "main" else f" ({item.claim})"
        print(f"  {item.kind + claim:<36} {item.verdict}")
        if item.verdict.witness:
            print(f"      at {witness_text(item.verdict.witness)}")
    print(f"  mutants refuted: {len(report.mutants) - len(report.survivors)} of {len(report.mutants)}")
    for mutant in report.survivors:
        print(f"      {mutant.name} survives: { {kind: str(verdict) for kind, verdict in mutant.verdicts.items()} }")
    print(f"{report.verdict}   ({report.seconds:.1f} s, seed {report.seed})")
    if theorem.figure is not None:
        _, picture = regenerate(theorem.figure, figure_stem(sys.argv[0]))
        print(f"figure: {picture}")
    return exit_code([report.verdict.word])
