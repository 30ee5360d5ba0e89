"""Results as text: one line for each theorem, and one theorem in detail."""

from collections.abc import Mapping

__all__ = ["COLOURS", "one_line", "summary", "witness_text"]

COLOURS = {"VERIFIED": "green", "REFUTED": "red", "INCONCLUSIVE": "yellow", "ERROR": "red", "SKIPPED": "dim"}


def one_line(entry):
    """A result record as one plain line.

    >>> print(one_line({"id": "vl.samples", "verdict": "VERIFIED", "evidence": [{"kind": "computed"}],
    ...                 "mutants": {"killed": 4, "total": 4}, "seconds": 0.25, "reason": ""}))
    VERIFIED      vl.samples                      computed                        mutants 4/4    0.2 s
    """
    kinds = ", ".join(evidence_kinds(entry))
    mutants = f"mutants {entry['mutants']['killed']}/{entry['mutants']['total']}"
    line = f"{entry['verdict']:<13} {entry['id']:<31} {kinds:<31} {mutants:<14} {entry['seconds']:.1f} s"
    return f"{line}  {entry['reason']}" if entry["reason"] else line


def evidence_kinds(entry):
    """The kinds of evidence that decided something, in the order they were gathered."""
    decided = [item for item in entry["evidence"] if item.get("verdict") != "SKIPPED"]
    return list(dict.fromkeys(item["kind"] for item in decided))


def summary(entries):
    """The closing line: verdicts, mutation score, time.

    >>> summary([{"verdict": "VERIFIED", "mutants": {"killed": 4, "total": 4}, "seconds": 1.0}])
    '1 theorem: 1 VERIFIED; mutants refuted 4 of 4; 1.0 s'
    """
    counts: dict[str, int] = {}
    for entry in entries:
        counts[entry["verdict"]] = counts.get(entry["verdict"], 0) + 1
    words = ", ".join(f"{count} {word}" for word, count in sorted(counts.items())) or "nothing to verify"
    killed = sum(entry["mutants"]["killed"] for entry in entries)
    total = sum(entry["mutants"]["total"] for entry in entries)
    seconds = sum(entry["seconds"] for entry in entries)
    noun = "theorem" if len(entries) == 1 else "theorems"
    return f"{len(entries)} {noun}: {words}; mutants refuted {killed} of {total}; {seconds:.1f} s"


def witness_text(witness: Mapping | None):
    """The point at which something is wrong, as `name = value, ...`."""
    if not witness:
        return ""
    return ", ".join(f"{name} = {_short(value)}" for name, value in witness.items())


def _short(value):
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_short, value)) + "]"
    if hasattr(value, "tolist"):
        return _short(value.tolist())
    return str(value)
