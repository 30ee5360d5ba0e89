"""How often the sampled checks of a paper err: false alarms on the theorems, power against formulas 2 % off.

    python benchmarks/error_rates.py --runs 200 --paper vl_edge_of_stability

Each run uses fresh seeds. A true theorem must never be REFUTED (and should not be INCONCLUSIVE); the same
measurements must refute 0.98 and 1.02 times its formula.
"""

import argparse
import time
from collections import Counter
from functools import partial

import numpy as np

from quadlab import verify as v
from quadlab.verify.runner import judges


def sampled_judges(theorem, seed, budget):
    """(claim, judge) for every sampled piece of evidence of a theorem, on real data too."""
    from quadlab.problems import LeastSquares

    for claim in theorem.claims:
        if isinstance(claim.simulation, v.ErrorOrder):
            # nothing is drawn there, and 2 % lie inside the margin of an order
            continue
        on_problem = None
        if claim is theorem and theorem.on_problem:
            on_problem = partial(theorem.on_problem, LeastSquares.from_dataset("diabetes"))
        for label, prepare in judges(claim, seed, budget, on_problem=on_problem, problem_name="diabetes").items():
            if label.startswith("sampled"):
                yield claim, f"{theorem.id} {label} ({claim.name})", prepare()


def off_by(formula, factor):
    return lambda *arguments, **named: factor * formula(*arguments, **named)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--paper", default="vl_edge_of_stability")
    parser.add_argument("--budget", default="standard")
    arguments = parser.parse_args()
    theorems = [v.load(path) for path in v.theorem_files(arguments.paper)]
    right, wrong, comparisons, started = Counter(), Counter(), 0, time.perf_counter()
    entropy = np.random.SeedSequence().entropy
    for run in range(arguments.runs):
        seed = np.random.SeedSequence(entropy, spawn_key=(run,))
        for theorem, child in zip(theorems, seed.spawn(len(theorems)), strict=True):
            for claim, name, judge in sampled_judges(theorem, child, arguments.budget):
                evidence = judge(claim.formula)
                comparisons += len(evidence.figures["comparisons"])
                right[evidence.verdict.word] += 1
                if evidence.verdict.word != v.VERIFIED:
                    print(f"run {run}: {name}: {evidence.verdict}", flush=True)
                for factor in (0.98, 1.02):
                    word = judge(off_by(claim.formula, factor)).verdict.word
                    wrong[word] += 1
                    if word != v.REFUTED:
                        print(f"run {run}: {name}: {factor} times the formula is {word}", flush=True)
    print(f"{arguments.runs} runs, {arguments.budget} budget, entropy {entropy}, {time.perf_counter() - started:.0f} s")
    print(f"right formulas: {dict(right)} in {comparisons} comparisons")
    print(f"formulas 2 % off: {dict(wrong)}")


if __name__ == "__main__":
    main()
