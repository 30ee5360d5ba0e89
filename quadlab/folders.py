"""Folders of the user in which quadlab keeps something of its own, and what becomes of it where there are none."""

import tempfile
import threading
import warnings
from pathlib import Path

import platformdirs

__all__ = ["user_folder", "warn_once"]

_lock = threading.Lock()
_warned = False


def user_folder(kind, without):
    """The user's folder "cache" or "state" of quadlab, made and written to; None with a warning where that fails.

    without : what becomes of what would be kept there.
    """
    try:
        folder = Path(getattr(platformdirs, f"user_{kind}_dir")("quadlab"))
        if not folder.is_absolute():
            raise RuntimeError(f"{folder} is in no home folder")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        warn_once(f"the folder {folder} cannot be written ({error.strerror}): {without}")
    except RuntimeError as error:
        # platformdirs knows of no home, or took "~" for the name of a folder
        warn_once(f"there is no folder for the {kind} ({error}): {without}")
    return None


def warn_once(text):
    """The first such warning of a process: a machine that lacks one folder mostly lacks all."""
    global _warned
    with _lock:
        first, _warned = not _warned, True
    if first:
        warnings.warn(text, UserWarning, stacklevel=3)
