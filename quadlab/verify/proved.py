"""Evidence by proof: certified statements over whole domains, and inequalities enclosed on boxes."""

from quadlab.verify.certify import prove
from quadlab.verify.enclose import enclose_positive
from quadlab.verify.verdict import INCONCLUSIVE, REFUTED, VERIFIED, Evidence, Verdict, combine

__all__ = ["judge_certified", "judge_enclosed"]


def judge_certified(claim, candidate):
    """Prove or refute every statement of the claim's certificate for a candidate formula."""
    verdicts, rows = [], []
    for statement in claim.certificate(candidate):
        proof = prove(statement.goal, statement.assumptions)
        rows.append({"statement": statement.name, "checks": list(proof.checks)})
        if proof.proved is None:
            verdicts.append(Verdict(INCONCLUSIVE, f"{statement.name}: {proof.reason}"))
        elif proof.proved:
            verdicts.append(Verdict(VERIFIED))
        else:
            witness = {str(symbol): str(value) for symbol, value in proof.counterexample.items()}
            verdicts.append(Verdict(REFUTED, f"{statement.name} fails", witness))
            break
    if not rows:
        raise ValueError(f"the certificate of {claim.name} must make at least one statement, got none")
    return Evidence("certified", combine(verdicts), claim.name, {"statements": rows})


def judge_enclosed(claim, candidate):
    """Enclose every inequality of the claim's enclosure for a candidate formula."""
    verdicts, rows = [], []
    for inequality in claim.enclosure(candidate):
        found = enclose_positive(inequality.function, inequality.box, logarithmic=inequality.logarithmic)
        row = {"inequality": inequality.name, "boxes": found.boxes, "lower_bound": found.smallest}
        rows.append({**row, "box": {name: list(map(float, side)) for name, side in inequality.box.items()}})
        if found.proved is None:
            verdicts.append(Verdict(INCONCLUSIVE, f"{inequality.name}: {found.reason}"))
        elif found.proved:
            verdicts.append(Verdict(VERIFIED))
        else:
            verdicts.append(Verdict(REFUTED, f"{inequality.name} fails", found.witness))
            break
    if not rows:
        raise ValueError(f"the enclosure of {claim.name} must make at least one inequality, got none")
    return Evidence("enclosed", combine(verdicts), claim.name, {"inequalities": rows})
