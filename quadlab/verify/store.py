"""Results as JSON lines: one for each theorem, written when it is finished."""

import json
import math
import os
import warnings
from pathlib import Path

import numpy as np

import quadlab
from quadlab.verify.verdict import ERROR, WORDS

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
    """An append-only file of records in a folder; what was written survives an interruption, or damage to the rest.

    >>> import tempfile
    >>> store = Store(tempfile.mkdtemp())
    >>> store.path.exists(), store.records()
    (True, [])
    """

    def __init__(self, folder):
        self.path = Path(folder) / "results.jsonl"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab"):
                pass
        except OSError as error:
            raise ValueError(f"the output folder {folder} cannot be written: {error.strerror} ({self.path})") from None

    def append(self, entry):
        """Write one record as one line, on disk when this returns."""
        line = json.dumps(entry, allow_nan=False).encode() + b"\n"
        with self.path.open("a+b") as file:
            # a line that an interruption cut short must not swallow the next one
            if file.tell() and not _ends_with_newline(file):
                line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def records(self):
        """All records of this schema, oldest first. Lines that are none are passed over, and named in a UserWarning."""
        entries, damaged = [], []
        for number, line in enumerate(self.path.read_bytes().split(b"\n"), 1):
            if not line.strip():
                continue
            try:
                entry = _read(line)
            except ValueError as error:
                damaged.append(f"line {number} ({error})")
                continue
            if entry["schema"] == SCHEMA:
                entries.append(entry)
        if damaged:
            more = f" and {len(damaged) - 5} more" if len(damaged) > 5 else ""
            text = f"passed over in {self.path}, as no records: {', '.join(damaged[:5])}{more}"
            warnings.warn(text, UserWarning, stacklevel=2)
        return entries

    def finished(self, *, budget, problem, seed=None):
        """(seed, {(id, fingerprint): record}) of the latest run with these settings, for `--resume`.

        (seed, {}) if there is none. What ended in an error is not finished.
        """
        matching = [
            entry
            for entry in self.records()
            if entry["version"] == quadlab.__version__
            and entry["budget"] == budget
            and entry.get("run_problem", "") == problem
            and seed in (None, entry["seed"])
        ]
        if not matching:
            return seed, {}
        latest = matching[-1]["seed"]
        found = {(entry["id"], entry.get("fingerprint")): entry for entry in matching if entry["seed"] == latest}
        return latest, {key: entry for key, entry in found.items() if entry["verdict"] != ERROR}


def _read(line):
    """The record on a line; ValueError says what else it is."""
    try:
        entry = json.loads(line.decode("utf-8-sig"), parse_constant=_no_number, parse_float=_finite, parse_int=_whole)
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except json.JSONDecodeError:
        raise ValueError("not JSON, or cut short") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(entry, dict):
        raise ValueError(f"{_kind(entry)}, not an object")
    if "schema" not in entry:
        raise ValueError("no schema")
    if entry["schema"] == SCHEMA:
        _check(entry, RECORD)
        if entry["verdict"] not in WORDS:
            raise ValueError("verdict is not one of quadlab's")
        if entry["seed"] < 0:
            raise ValueError("seed is negative")
        _check(entry["mutants"], {"killed": (int,), "total": (int,)}, "mutants ")
        for item in entry["evidence"]:
            _check(item, {"kind": (str,), "verdict": (str,)}, "evidence ")
    return entry


# what a record must hold for it to be printed, and to be taken for the result of a theorem
RECORD = {
    "version": (str,),
    "id": (str,),
    "kind": (str,),
    "verdict": (str,),
    "reason": (str,),
    "witness": (dict, type(None)),
    "evidence": (list,),
    "mutants": (dict,),
    "seconds": (int, float),
    "seed": (int,),
    "budget": (str,),
}


def _check(entry, fields, where=""):
    if not isinstance(entry, dict):
        raise ValueError(f"{where}is {_kind(entry)}")
    for name, types in fields.items():
        if name not in entry:
            raise ValueError(f"no {where}{name}")
        value = entry[name]
        if not isinstance(value, types) or isinstance(value, bool):
            raise ValueError(f"{where}{name} is {_kind(value)}")
        if name == "seconds":
            _finite(value)


def _kind(value):
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _no_number(token):
    raise ValueError(f"{token} is no number of JSON")


def _whole(digits):
    try:
        return int(digits)
    except ValueError:
        raise ValueError(f"a number of {len(digits)} digits is too large") from None


def _finite(number):
    try:
        value = float(number)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise ValueError(f"the number {str(number)[:20]} is too large")
    return value


def _ends_with_newline(file):
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"
