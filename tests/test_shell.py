"""The command line as a process: signals at any moment, pipes that close, streams of few characters, no home."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and pipes of POSIX")

# loads everything once; each case is then a process of its own, which ends as the command does
DRIVER = """
import gc, json, os, pty, signal, sys
import matplotlib.figure, numba, rich.progress, sympy
import quadlab.cli, quadlab.report, quadlab.simulate, quadlab.verify.workers

quadlab.verify.theorems()
gc.freeze()
ends = {}
for name, (prepare, arguments) in json.loads(sys.argv[1]).items():
    process = os.fork()
    if process == 0:
        os.mkdir(name)
        os.chdir(name)
        for number, file in ((1, "out"), (2, "err")):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
        sys.argv = ["quadlab", *arguments]
        exec(prepare)
        quadlab.cli.main()
    ends[name] = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
print(json.dumps(ends))
"""

FILE = """
import atexit, builtins, ctypes, os, signal
from concurrent.futures import ThreadPoolExecutor
from quadlab.report.figures import Figure, Panel, theory
from quadlab.theory.intervals import positive
from quadlab.verify import IDENTITY, Domain, Theorem
from quadlab.verify.workers import Portable, processes

def send(name=signal.SIGINT):
    os.kill(os.getpid(), name)

def swallowed():
    try:
        send()
    except BaseException:
        pass

class Dying:
    def __del__(self):
        send()

callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: send())

def once(act, *arguments):
    left = [act]
    return lambda: left and left.pop()(*arguments)

def in_thread():
    with ThreadPoolExecutor(1) as executor:
        executor.submit(send).result()

def in_worker():
    processes(1).submit(Portable(lambda parent=os.getpid(): os.kill(parent, signal.SIGINT))).result()

def printing(act, original=builtins.print):
    def first(*texts, **options):
        builtins.print = original
        act()
        original(*texts, **options)
    builtins.print = first

def judged():
    pass

def oracle(a):
    judged()
    return a * a

START

eta = "\\N{GREEK SMALL LETTER ETA}"
THEOREM = Theorem(
    id="mine.square", title=f"a square of {eta}", source="me", statement=eta, kind=IDENTITY,
    domain=Domain(a=positive), formula=lambda a: a**2, oracle=oracle, mutants={f"cube {eta}": "a**3"},
    caveats=(f"Says nothing of {eta}.",),
    figure=Figure(lambda rng: theory("p", eta, [0, 1], [0, 1]), (Panel("p", eta, eta),)),
)
"""

# what the theorem's file does, the exit code of the command, and what it tells of the two that it was to verify
MOMENTS = {
    "as the file is loaded": ("send()", 130, "interrupted\n"),
    "in an oracle": ("judged = send", 130, "interrupted: 0 of 2 "),
    "in a function that swallows everything": ("judged = once(swallowed)", 130, "interrupted: 1 of 2 "),
    "in a destructor": ("judged = once(Dying)", 130, "interrupted: 1 of 2 "),
    "in a callback of C code": ("judged = once(callback, None)", 130, "interrupted: 1 of 2 "),
    "in a thread": ("judged = in_thread", 130, "interrupted: 0 of 2 "),
    "in a worker process": ("judged = in_worker", 130, "interrupted: 0 of 2 "),
    "as a result is written": ("os.fsync = lambda number: send()", 130, "interrupted: 0 of 2 "),
    "as a line is printed": ("printing(send)", 130, "interrupted: 1 of 2 "),
    "as a line is printed, and lost": ("printing(swallowed)", 130, "interrupted: 1 of 2 "),
    "at the end of the process": ("atexit.register(send)", 130, ""),
    "twice": ("judged = lambda: (swallowed(), send())", 130, ""),
    "terminated": ("judged = lambda: send(signal.SIGTERM)", 143, "interrupted: 0 of 2 "),
    "terminated at the end": ("atexit.register(send, signal.SIGTERM)", 143, ""),
}

TERMINAL = """
ours, its = pty.openpty()
os.dup2(its, 1)
import rich.progress
rich.progress.Progress.update = lambda *a, **b: os.kill(os.getpid(), signal.SIGINT)
"""
NO_READER = "reader, writer = os.pipe(); os.close(reader); os.dup2(writer, 1)"
FULL = 'os.dup2(os.open("/dev/full", os.O_WRONLY), 1)'
ENCODINGS = ("ascii", "cp1252", "latin-1", "utf-8")
LOOKING = "from quadlab.folders import user_folder; judged = lambda: user_folder('cache', 'no kernels are kept')"
ENCODED = 'sys.stdout.reconfigure(encoding="{}")'
VERIFY = ["verify", "mine.py", "--out", ".", "--rng", "1"]
COMMANDS = {
    "show": ["show", "mine.py"],
    "verify": VERIFY,
    "json": [*VERIFY, "--json"],
    "challenge": ["challenge", "mine.py", "a**2 + 0 * \u03b7"],
    "challenge json": ["challenge", "mine.py", "a**3", "--json"],
    "figure": ["figure", "mine.py"],
}

CASES = {
    **{moment: (start, "", [*VERIFY, "mine.py"]) for moment, (start, _, _) in MOMENTS.items()},
    "lost at the last": ("printing(swallowed)", "", VERIFY),
    "of a bar": ("", TERMINAL, VERIFY),
    "of show": ("send()", "", ["show", "mine.py"]),
    "of challenge": ("send()", "", ["challenge", "mine.py", "a"]),
    "of figure": ("send()", "", ["figure", "mine.py"]),
    "of list": ("", "quadlab.verify.load = lambda target: os.kill(os.getpid(), signal.SIGINT)", ["list"]),
    "ignored": ("send()", "signal.signal(signal.SIGINT, signal.SIG_IGN)", VERIFY),
    "exit at loading": ("raise SystemExit(0)", "", VERIFY),
    "exit in an oracle": ("judged = lambda: exit(0)", "", VERIFY),
    "a fault": ("", "quadlab.verify.verify_all = None", VERIFY),
    "no reader of list": ("", NO_READER, ["list"]),
    "no reader of help": ("", NO_READER, ["--help"]),
    "no reader of verify": ("", NO_READER, VERIFY),
    "full": ("", FULL, ["list"]),
    "no output": ("", "sys.stdout = None; os.close(1)", VERIFY),
    "no errors": ("", "sys.stderr = None; os.close(2)", ["verify", "nothing"]),
    "no home": (LOOKING, "", ["verify", "mine.py"]),
    "no home, --out": (LOOKING, "", VERIFY),
    "no home, json": (LOOKING, "", ["verify", "mine.py", "--json"]),
    **{
        f"{command} in {encoding}": ("", ENCODED.format(encoding), arguments)
        for command, arguments in COMMANDS.items()
        for encoding in ENCODINGS
    },
}


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    """For each case its exit code, and what it printed to standard output and standard error."""
    folder, cases = tmp_path_factory.mktemp("shell"), {}
    for k, (name, (start, prepare, arguments)) in enumerate(CASES.items()):
        (folder / f"{k}.py").write_text(FILE.replace("START", start), encoding="utf-8")
        here = f"import shutil; shutil.copy('../{k}.py', 'mine.py'); "
        cases[name] = here + prepare, arguments
    command = [sys.executable, "-c", DRIVER, json.dumps(cases)]
    # the C locale, and a home that is none
    keep = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "SYSTEMROOT") if name in os.environ}
    poor = {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "HOME": "/dev/null",
        "MPLCONFIGDIR": str(folder),
    }
    done = subprocess.run(command, cwd=folder, env=keep | poor, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    texts = {name: [(folder / name / file).read_bytes() for file in ("out", "err")] for name in CASES}
    encoding = {name: name.rpartition(" in ")[2] for name in CASES}
    texts = {
        name: [text.decode(encoding[name] if encoding[name] in ENCODINGS else "utf-8") for text in pair]
        for name, pair in texts.items()
    }
    return {name: (code, *texts[name]) for name, code in json.loads(done.stdout).items()}


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interruption_is_the_exit_code(ends, moment):
    code, _, err = ends[moment]
    _, expected, told = MOMENTS[moment]
    assert code == expected, err
    assert told in err if told else err == ""


def test_an_interruption_that_is_lost_at_the_very_end_is_the_exit_code_nevertheless(ends):
    code, out, _ = ends["lost at the last"]
    assert (code, out.count("1 VERIFIED")) == (130, 1)


def test_an_interruption_of_a_bar(ends):
    code, _, err = ends["of a bar"]
    assert (code, err.count("\n")) == (130, 1)
    assert err.startswith("interrupted: 0 of 1 results are in ")


@pytest.mark.parametrize("command", ["show", "challenge", "figure", "list"])
def test_other_commands_are_interrupted_as_well(ends, command):
    assert ends[f"of {command}"] == (130, "", "interrupted\n")


def test_a_process_that_ignores_interruptions_goes_on(ends):
    assert ends["ignored"][::2] == (0, "")


@pytest.mark.parametrize("where", ["at loading", "in an oracle"])
def test_a_theorem_does_not_end_the_program(ends, where):
    told = "quadlab: error: the program was ended from within, by SystemExit(0)\n"
    assert ends[f"exit {where}"] == (3, "", told)


def test_a_fault_of_quadlab_is_no_refutation(ends):
    code, _, err = ends["a fault"]
    assert (code, err.splitlines()[-1]) == (3, "TypeError: 'NoneType' object is not callable")


@pytest.mark.parametrize("command", ["list", "help", "verify"])
def test_a_reader_that_leaves_is_no_error(ends, command):
    assert ends[f"no reader of {command}"] == (141, "", "")


def test_a_full_disk_is_an_error(ends):
    assert ends["full"] == (3, "", "quadlab: error: [Errno 28] No space left on device\n")


def test_streams_may_be_closed(ends):
    assert ends["no output"] == (0, "", "")
    assert ends["no errors"] == (3, "", "")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_stream_that_lacks_a_character_shows_its_number(ends, command, encoding):
    code, out, err = ends[f"{command} in {encoding}"]
    shown = "\u03b7" if encoding == "utf-8" else "\\u03b7"
    if command == "challenge":
        # the domain has no such name
        assert (code, out) == (3, "")
        assert "the name '\\u03b7' at column 12 was not understood" in err
        return
    assert (code, err) == (1 if command == "challenge json" else 0, "")
    if command == "show":
        assert f"mine.square: a square of {shown}" in out
        assert f"Says nothing of {shown}." in out
    if command == "json":
        assert json.loads(out)["title"] == "a square of \u03b7"
        assert out.isascii()
    if command == "challenge json":
        assert json.loads(out)["verdict"] == "REFUTED"


@pytest.mark.parametrize("how", ["", ", --out", ", json"])
def test_without_a_home_there_is_one_warning(ends, how):
    code, out, err = ends[f"no home{how}"]
    assert (code, err.count("\n")) == (0, 1)
    lost = "no kernels are kept" if how == ", --out" else "results are kept in a temporary folder"
    assert err.startswith("quadlab: warning: the folder /dev/null/")
    assert err.endswith(f"cannot be written (Not a directory): {lost}\n")
    if not how:
        assert out.splitlines()[-1].startswith("seed ")
