"""Results as JSON lines: one for each theorem, written when it is finished."""

import json
import math
import os
from pathlib import Path

import numpy as np

import quadlab

__all__ = ["SCHEMA", "Store", "plain", "record"]

SCHEMA = 1


def record(report, paper):
    """The report as plain JSON data; `paper` is the folder the theorem belongs to."""
    survivors = [{"claim": m.claim, "mutant": m.name, **_verdicts(m)} for m in report.survivors]
    return plain(
        {
            "schema": SCHEMA,
            "version": quadlab.__version__,
            "id": report.id,
            "title": report.title,
            "paper": paper,
            "kind": report.kind,
            "verdict": report.verdict.word,
            "reason": report.verdict.reason,
            "witness": report.verdict.witness,
            "evidence": [
                {
                    "kind": item.kind,
                    "verdict": item.verdict.word,
                    "reason": item.verdict.reason,
                    "claim": item.claim,
                    "witness": item.verdict.witness,
                    "needed": item.verdict.needed,
                    **item.figures,
                }
                for item in report.evidence
            ],
            "mutants": {
                "killed": len(report.mutants) - len(report.survivors),
                "total": len(report.mutants),
                "survivors": survivors,
                "refutations": [{"claim": m.claim, "mutant": m.name, **_verdicts(m)} for m in report.mutants],
            },
            "seconds": round(report.seconds, 3),
            "seed": report.seed,
            "budget": report.budget,
            "problem": report.problem,
        }
    )


def _verdicts(mutant):
    return {"verdicts": {kind: str(verdict) for kind, verdict in mutant.verdicts.items()}}


def plain(value):
    """JSON data from NumPy and SymPy values; what JSON has no number for (inf, nan) becomes text."""
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


class Store:
    """An append-only file of records in a folder; what was written survives an interruption.

    >>> import tempfile
    >>> store = Store(tempfile.mkdtemp())
    >>> store.append({"id": "a", "verdict": "VERIFIED"})
    >>> [entry["id"] for entry in store.records()]
    ['a']
    """

    def __init__(self, folder):
        self.path = Path(folder) / "results.jsonl"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a"):
                pass
        except OSError as error:
            raise ValueError(f"the output folder {folder} cannot be written: {error.strerror}") from None

    def append(self, entry):
        """Write one record as one line, on disk when this returns."""
        line = json.dumps(entry, allow_nan=False) + "\n"
        with self.path.open("a+b") as file:
            # a line that an interruption cut short must not swallow the next one
            if file.tell() and not _ends_with_newline(file):
                line = "\n" + line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def records(self):
        """All complete records, oldest first; a line cut short is passed over."""
        entries = []
        for line in self.path.read_text().splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(entry, dict) and "id" in entry:
                entries.append(entry)
        return entries

    def finished(self, *, budget, problem, seed=None):
        """(seed, {id: record}) of the latest run with these settings, for `--resume`; (seed, {}) if there is none."""
        matching = [
            entry
            for entry in self.records()
            if entry.get("schema") == SCHEMA
            and entry.get("version") == quadlab.__version__
            and entry.get("budget") == budget
            and entry.get("run_problem", "") == problem
            and seed in (None, entry.get("seed"))
            and entry.get("verdict") != "ERROR"
        ]
        if not matching:
            return seed, {}
        latest = matching[-1]["seed"]
        return latest, {entry["id"]: entry for entry in matching if entry["seed"] == latest}


def _ends_with_newline(file):
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"
