"""Results as text: one line for each theorem, and one theorem in detail."""

from collections.abc import Mapping

from quadlab.verify.verdict import told_apart

__all__ = ["COLOURS", "describe", "evidence_kinds", "one_line", "ranges_text", "summary", "table", "witness_text"]

SIDES = ("formula", "oracle", "theorem", "predicted", "measured")
COLOURS = {
    "VERIFIED": "green",
    "REFUTED": "red",
    "CONSISTENT": "yellow",
    "INCONCLUSIVE": "yellow",
    "ERROR": "red",
    "SKIPPED": "dim",
}


def one_line(entry):
    """A result record as one plain line; "earlier" marks one that a resumed run took over.

    >>> print(one_line({"id": "vl.samples", "verdict": "VERIFIED", "evidence": [{"kind": "computed"}],
    ...                 "mutants": {"killed": 4, "total": 4}, "seconds": 0.25, "reason": ""}))
    VERIFIED      vl.samples                          computed                                   mutants 4/4    0.2 s
    """
    kinds = ", ".join(evidence_kinds(entry))
    mutants = f"mutants {entry['mutants']['killed']}/{entry['mutants']['total']}"
    time = "earlier" if entry.get("resumed") else f"{entry['seconds']:.1f} s"
    line = f"{entry['verdict']:<13} {entry['id']:<35} {kinds:<42} {mutants:<14} {time}"
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


def table(entries):
    """Print the records as a table on a terminal."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    grid = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("verdict", "theorem", "kind", "evidence", "mutants refuted", "seconds"):
        grid.add_column(title, justify="right" if title == "seconds" else "left")
    for entry in entries:
        colour = COLOURS.get(entry["verdict"], "default")
        grid.add_row(
            f"[{colour}]{entry['verdict']}[/]",
            escape(entry["id"]),
            entry["kind"],
            ", ".join(evidence_kinds(entry)),
            f"{entry['mutants']['killed']} of {entry['mutants']['total']}",
            f"{entry['seconds']:.1f}",
        )
        if entry["reason"]:
            grid.add_row("", escape(entry["reason"]))
    Console().print(grid)


def describe(theorem):
    """A theorem as text: statement, domain, derivation, caveats, source."""
    import sympy

    lines = [f"{theorem.id}: {theorem.title}", f"source: {theorem.source}", f"kind: {theorem.kind}", ""]
    for claim in theorem.claims:
        if claim is not theorem:
            lines += [f"claim '{claim.name}' ({claim.kind})", ""]
        lines += ["statement", f"  {claim.statement}", ""] if claim.statement else []
        lines += ["domain"] + [f"  {line}" for line in str(claim.domain).split("; ")] + [""]
        if getattr(claim.simulation, "kind", "") == "replicated":
            lines += _experiment_lines(claim.kind, claim.simulation)
        lines += ["wrong versions that its evidence refutes"] + [f"  {name}" for name in claim.mutants] + [""]
        if claim.derivation is None:
            continue
        lines += ["derivation"]
        derivation = claim.derivation(claim.formula)
        for number, (text, expression) in enumerate(derivation.steps, 1):
            lines += [f"  {number}. {text}"]
            picture = sympy.pretty(expression, use_unicode=False, wrap_line=False)
            lines += ["       " + row for row in picture.splitlines()]
        lines += ["  these must vanish: " + ", ".join(derivation.residuals), ""]
    if theorem.caveats:
        lines += ["what it does not say"] + [f"  - {caveat}" for caveat in theorem.caveats]
    return "\n".join(lines).rstrip()


def _experiment_lines(kind, replication):
    units = f" ({replication.units})" if replication.units else ""
    side = {"upper": " above", "lower": " below"}.get(kind, " from")
    seeds = ", ".join(f"{count} {budget}" for budget, count in replication.seeds.items())
    relative = "" if replication.scale else ", relative to it"
    margin = f"at most {replication.margin:g}{side} the prediction{relative}"
    rows = [f"  {replication.observable}{units}: {margin}, at each of"]
    rows += [f"    {witness_text(setting)}" for setting in replication.settings]
    return ["measured in runs", *rows, f"  on several seeds: {seeds}", ""]


def witness_text(witness: Mapping | None):
    """The point at which something is wrong, as `name = value, ...`, with the digits in which two sides differ.

    >>> witness_text({"rate": 0.1, "formula": 25.29340001, "oracle": 25.29340002})
    'rate = 0.1, formula = 25.29340001, oracle = 25.29340002'
    """
    if not witness:
        return ""
    sides = [name for name in SIDES if isinstance(witness.get(name), float)]
    texts = dict(zip(sides, told_apart(*(witness[name] for name in sides)), strict=True))
    return ", ".join(f"{name} = {texts.get(name) or _short(value)}" for name, value in witness.items())


def ranges_text(ranges: Mapping):
    """Where points came from, as `name from low to high, ...`.

    >>> ranges_text({"samples": [1.0, 20.0]})
    'samples from 1 to 20'
    """
    return ", ".join(
        f"{name} from {_short(float(low))} to {_short(float(high))}" for name, (low, high) in ranges.items()
    )


def _short(value):
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_short, value)) + "]"
    if hasattr(value, "tolist"):
        return _short(value.tolist())
    return str(value)
