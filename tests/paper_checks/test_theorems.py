"""Every shipped theorem: verified, by enough kinds of evidence, with all mutants refuted, and its figure unchanged.

Experiments on networks take minutes and are not run here: only what they say and show is checked.
"""

from dataclasses import replace
from inspect import Parameter, signature
from pathlib import Path

import numpy as np
import pytest

from quadlab import verify as v
from quadlab.report.figures import read_rows, regenerate
from quadlab.verify.library import EXPERIMENTS
from quadlab.verify.runner import EXACT_KINDS, judges

FIGURES = Path(__file__).resolve().parents[2] / "figures"
README = FIGURES.parent / "README.md"
NETWORKS = list(v.experiments().values())
THEOREMS = [theorem for theorem in v.theorems().values() if v.paper_of(theorem) not in EXPERIMENTS]


@pytest.fixture(scope="module")
def reports():
    return {}


@pytest.mark.parametrize("theorem", THEOREMS, ids=lambda theorem: theorem.id)
def test_verified_with_every_mutant_refuted(theorem, reports):
    report = reports[theorem.id] = v.verify(theorem, rng=1, budget="quick")
    assert report.verdict.word == v.VERIFIED, report.verdict
    kinds = {item.kind for item in report.evidence if item.verdict.word == v.VERIFIED}
    assert len(kinds) >= 2
    assert kinds - {"sampled"}
    assert report.mutants
    assert not report.survivors


@pytest.mark.parametrize("theorem", THEOREMS, ids=lambda theorem: theorem.id)
def test_exact_evidence_binds_arguments_in_the_order_of_the_domain(theorem):
    """A challenger's formula has the domain's order; evidence that assumed another would refute a right one.

    A formula whose own arguments have that order cannot tell it from its own, and is not tried.
    """
    for claim in theorem.claims:
        parameters = signature(claim.formula).parameters.values()
        names = [parameter.name for parameter in parameters if parameter.kind is not Parameter.KEYWORD_ONLY]
        if names == list(claim.domain)[: len(names)]:
            continue

        def ordered(*positional, claim=claim, **named):
            return claim.formula(**dict(zip(claim.domain, positional, strict=False)), **named)

        for kind, prepare in judges(claim, np.random.SeedSequence(0), "quick").items():
            if kind in EXACT_KINDS:
                assert prepare()(ordered).verdict.word == v.VERIFIED, (claim.name, kind)


# theorems, and how many of them at least carry symbolic evidence, and a certificate or an enclosure
PROMISED = {"vl_edge_of_stability": (21, 8, 4), "implicit_gradient_regularization": (33, 33, 11)}


@pytest.mark.parametrize("paper", [paper for paper in v.papers() if paper not in EXPERIMENTS])
def test_the_paper_is_covered_as_promised(paper, reports):
    kinds = [
        {item.kind for item in reports[theorem.id].evidence} for theorem in THEOREMS if v.paper_of(theorem) == paper
    ]
    theorems, symbolic, proved = PROMISED[paper]
    assert len(kinds) == theorems
    assert sum("symbolic" in entry for entry in kinds) >= symbolic
    assert sum(bool(entry & {"certified", "enclosed"}) for entry in kinds) >= proved


def test_the_readme_table_says_what_a_run_says(reports):
    rows = [line.split(" | ") for line in README.read_text().splitlines() if line.startswith("| `")]
    for name, title, kinds, mutants in rows:
        report = reports[name.strip("| `")]
        assert title == report.title
        assert kinds.split(", ") == list(dict.fromkeys(item.kind for item in report.evidence))
        assert mutants == f"{len(report.mutants)} of {len(report.mutants)} |"
    total = sum(len(report.mutants) for report in reports.values())
    rest = len(reports) - len(rows)
    assert f"| {rest} more, all VERIFIED | `quadlab list` | | {total} of {total} in all |" in README.read_text()


@pytest.mark.parametrize("theorem", THEOREMS, ids=lambda theorem: theorem.id)
def test_the_figure_is_the_one_in_the_repository(theorem):
    file = v.file_of(theorem)
    stored = read_rows(FIGURES / file.parent.name / f"{file.stem}.csv")
    fresh = theorem.figure.data(0)
    assert [(row.panel, row.series, row.role) for row in fresh] == [(r.panel, r.series, r.role) for r in stored]
    for key in ("x", "y", "error"):
        old, new = (np.array([getattr(row, key) for row in rows]) for rows in (stored, fresh))
        scale = np.abs(old[np.isfinite(old)]).max(initial=0.0)
        np.testing.assert_allclose(new, old, rtol=1e-7, atol=1e-9 * scale)
    assert (FIGURES / file.parent.name / f"{file.stem}.svg").is_file()


@pytest.mark.parametrize("theorem", THEOREMS + NETWORKS, ids=lambda theorem: theorem.id)
def test_it_says_what_it_is(theorem):
    module_text = v.file_of(theorem).read_text()
    assert module_text.startswith('"""')
    assert theorem.statement
    assert "$" not in theorem.statement
    assert theorem.source
    for caveat in theorem.caveats:
        assert caveat.endswith(".")


@pytest.mark.parametrize("theorem", NETWORKS, ids=lambda theorem: theorem.id)
def test_an_experiment_rests_on_replicated_runs_at_points_of_its_domain(theorem):
    assert any(isinstance(claim.simulation, v.Replication) for claim in theorem.claims)
    for claim in theorem.claims:
        for setting in getattr(claim.simulation, "settings", ()):
            if set(claim.domain) <= set(setting):
                assert claim.domain.contains({name: setting[name] for name in claim.domain}), setting


@pytest.mark.parametrize("theorem", NETWORKS, ids=lambda theorem: theorem.id)
def test_formulas_and_mutants_of_an_experiment_bind_the_domain_in_its_order(theorem):
    for claim in theorem.claims:
        assert dict(signature(claim.formula).bind(*claim.domain).arguments) == {name: name for name in claim.domain}
        (point,) = claim.domain.draw(np.random.default_rng(0), 1)
        for name, mutant in claim.mutants.items():
            assert np.isfinite(mutant(**point)).all(), (claim.name, name)


@pytest.mark.parametrize("theorem", NETWORKS, ids=lambda theorem: theorem.id)
def test_the_figure_of_an_experiment_is_drawn_from_the_numbers_in_the_repository(theorem, tmp_path):
    file = v.file_of(theorem)
    stored = FIGURES / file.parent.name / file.stem
    assert stored.with_name(f"{file.stem}.svg").is_file()
    rows = read_rows(stored.with_name(f"{file.stem}.csv"))
    assert {row.panel for row in rows} == {panel.name for panel in theorem.figure.panels}

    def train(rng):
        raise AssertionError("a figure that reuses its data must not make it again")

    copy = tmp_path / f"{file.stem}.csv"
    copy.write_bytes(stored.with_name(f"{file.stem}.csv").read_bytes())
    _, picture = regenerate(replace(theorem.figure, data=train), tmp_path / file.stem, reuse_data=True)
    assert picture.is_file()
