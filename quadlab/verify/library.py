"""The theorems that come with quadlab, and those in a user's own files."""

import difflib
import sys
from functools import cache
from hashlib import sha256
from importlib.abc import SourceLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

from quadlab.verify.theorem import Theorem

__all__ = [
    "EXPERIMENTS",
    "experiments",
    "file_of",
    "in_theorem_file",
    "load",
    "load_module",
    "module_of",
    "paper_of",
    "papers",
    "text_of",
    "theorem_files",
    "theorems",
]

# folders of predictions met on trained networks: minutes each, so they are run only when they are named
EXPERIMENTS = ("deep_nets",)

_MODULE_PREFIX = "quadlab_theorem_"


@cache
def checks_folder():
    """The folder paper_checks: beside the package in a checkout, inside it when installed from a wheel."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "paper_checks", package.parent / "paper_checks"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError("the folder paper_checks is missing from this installation of quadlab")


def papers():
    """Names of the papers, each a folder of theorems."""
    return tuple(sorted(folder.name for folder in checks_folder().iterdir() if any(folder.glob("*.py"))))


def theorem_files(paper=None, *, experiments=True):
    """Paths of the theorem files, of one paper or of all; ValueError for an unknown paper names the closest.

    experiments : False leaves out the folders EXPERIMENTS, unless `paper` is one of them.
    """
    if paper is not None and paper not in papers():
        raise ValueError(f"paper must be one of {', '.join(papers())}{_closest(paper, papers())}, got {paper!r}")
    names = [name for name in papers() if experiments or name not in EXPERIMENTS] if paper is None else [paper]
    return tuple(path for name in names for path in sorted((checks_folder() / name).glob("*.py")))


@cache
def theorems():
    """All theorems that come with quadlab, by id."""
    found = [_from_file(path) for path in theorem_files()]
    return {theorem.id: theorem for theorem in found}


def experiments():
    """Those of all theorems that are experiments on trained networks, by id."""
    return {name: theorem for name, theorem in theorems().items() if paper_of(theorem) in EXPERIMENTS}


def file_of(theorem):
    """The path of the file that defines a loaded theorem; None if it was made elsewhere."""
    module = module_of(theorem)
    return None if module is None else Path(str(module.__file__))


def module_of(theorem):
    """The module of the file that defines a loaded theorem; None if it was made elsewhere."""
    for name, module in list(sys.modules.items()):
        if name.startswith(_MODULE_PREFIX) and getattr(module, "THEOREM", None) is theorem:
            return module
    return None


def paper_of(theorem):
    """The folder name of the paper a shipped theorem belongs to; "" for a user's own."""
    file = file_of(theorem)
    return file.parent.name if file is not None and file.parent.parent == checks_folder() else ""


def load(path_or_id):
    """The theorem with an id, or the one a Python file defines as THEOREM.

    Raises ValueError for an unknown id (with the closest ones) and for a file that is missing, fails or has no THEOREM.

    >>> load("vl.noise-ball").id
    'vl.noise-ball'
    """
    text = str(path_or_id)
    if text.endswith(".py"):
        return _from_file(Path(text))
    if text in theorems():
        return theorems()[text]
    raise ValueError(f"no theorem has the id {text!r}{_closest(text, theorems())}; `quadlab list` names all")


def _closest(text, known):
    near = difflib.get_close_matches(text, list(known), n=3, cutoff=0.4)
    return f" (closest: {', '.join(near)})" if near else ""


def _module_name(path, text):
    return f"{_MODULE_PREFIX}{path.stem}_{sha256(str(path).encode() + text).hexdigest()[:12]}"


def in_theorem_file(module):
    """Whether a module, given by its name, is a theorem file."""
    return str(module).startswith(_MODULE_PREFIX) and module in sys.modules


class _Text(SourceLoader):
    # a file's own loader would read it again, or what was compiled of it in the same second
    def __init__(self, path, text):
        self.path, self.text = path, text

    def get_filename(self, fullname):
        return str(self.path)

    def get_data(self, path):
        return self.text


def load_module(path, text=None):
    """The module that a theorem file defines, executed once in a process for each text that the file has had.

    text : bytes to execute instead of what the file holds now: `text_of` a module loaded before.
    """
    path = Path(path)
    if text is None:
        if not path.is_file():
            raise ValueError(f"there is no file {path}")
        text = path.read_bytes()
    loader = _Text(path.resolve(), text)
    name = _module_name(loader.path, text)
    if name not in sys.modules:
        spec = spec_from_loader(name, loader)
        assert spec is not None
        module = module_from_spec(spec)
        sys.modules[name] = module
        try:
            loader.exec_module(module)
        except BaseException as error:
            del sys.modules[name]
            if isinstance(error, Exception):
                raise ValueError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
            raise
    return sys.modules[name]


def text_of(module):
    """The bytes from which `load_module` made a module, whatever its file holds now."""
    return module.__loader__.text


def _from_file(path):
    theorem = getattr(load_module(path), "THEOREM", None)
    if not isinstance(theorem, Theorem):
        raise ValueError(f"{path} must define THEOREM as a quadlab.verify.Theorem, got {type(theorem).__name__}")
    return theorem
