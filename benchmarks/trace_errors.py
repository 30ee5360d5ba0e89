"""How often the trace of an operator lies beyond four of its standard errors, on spectra of very different kinds.

    python benchmarks/trace_errors.py --seeds 10000 --products 20

At most 1 estimate in 1,000 may. Beside it: the root mean square of the errors, in units of that of Hutch++ with as
many products, and that of the standard errors in units of the errors.
"""

import argparse

import numpy as np
from scipy.sparse import diags

from quadlab import bridge

N = 120


def spectra(outliers):
    """Name to eigenvalues; `outliers` are as many as random vectors, half of the products."""
    m, ranks = outliers, np.arange(N)
    rng = np.random.default_rng(0)

    def above(count, bulk, size=N):
        return np.where(np.arange(size) < count, 100.0, bulk)

    return {
        "outliers as many as vectors": above(m, 0.01),
        "one fewer": above(m - 1, 0.01),
        "one more": above(m + 1, 0.01),
        "twice as many": above(2 * m, 0.01),
        "as many, over a bulk of 1": above(m, 1.0),
        "as many, over a bulk of 10": above(m, 10.0),
        "as many, of either sign": above(m, 0.01) * np.where(ranks % 2, 1, -1),
        "as many, of falling size": np.where(ranks < m, 2.0 ** -np.minimum(ranks, 60), 1e-4),
        "a single outlier": above(1, 0.01),
        "power law 1/2": (1 + ranks) ** -0.5,
        "power law 1": 1.0 / (1 + ranks),
        "power law 3": 1.0 / (1 + ranks) ** 3,
        "falling by a tenth": 0.9**ranks,
        "falling by halves": 0.5**ranks,
        "rank as many as vectors": above(m, 0.0),
        "low rank": above(m // 2, 0.0),
        "three clusters": rng.choice([10.0, 1.0, -2.0], N) + 1e-6 * rng.standard_normal(N),
        "signs": np.where(ranks % 2, 1.0, -1.0),
        "identity": np.ones(N),
        "dimension one above the products": above(m, 0.01, 2 * m + 1),
    }


def hutch_plus_plus(values, rng, products):
    """The estimate of Meyer, Musco, Musco and Woodruff 2021 for diag(values)."""
    count = products // 3
    sketch, probes = np.random.default_rng(rng).standard_normal((2, len(values), count))
    basis = np.linalg.qr(values[:, None] * sketch)[0]
    rest = probes - basis @ (basis.T @ probes)
    return np.sum(values @ basis**2) + np.sum(values @ rest**2) / count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--products", type=int, default=20)
    arguments = parser.parse_args()
    products, seeds = arguments.products, range(arguments.first, arguments.first + arguments.seeds)
    print(f"{'':34}{'beyond 4':>10}{'largest':>10}{'/ Hutch++':>10}{'error bar':>10}")
    total = 0
    for name, values in spectra(products // 2).items():
        operator, exact = diags(values), values.sum()
        found = [bridge.trace(operator, rng=seed, products=products) for seed in seeds]
        errors = np.array([one.value for one in found]) - exact
        bars = np.array([one.standard_error for one in found])
        scores = np.abs(errors) / np.maximum(bars, np.finfo(float).tiny)
        beyond = int(np.sum(scores > 4))
        total += beyond
        other = np.array([hutch_plus_plus(values, seed, products) - exact for seed in seeds])
        size = np.sqrt(np.mean(errors**2))
        against, bar = size / np.sqrt(np.mean(other**2)), np.sqrt(np.mean(bars**2)) / size
        print(f"{name:34}{beyond:>10}{scores.max():>10.2f}{against:>10.2g}{bar:>10.3g}", flush=True)
    print(f"{total} of {arguments.seeds * len(spectra(products // 2))} beyond four standard errors")


if __name__ == "__main__":
    main()
