"""What a command owes the shell that called it: an exit code that is true, and text on any stream."""

import os
import signal
import sys
import threading
import traceback
import warnings
from contextlib import contextmanager, suppress

__all__ = ["exit_code_of", "interruption", "readable_streams", "stop_if_interrupted"]

BROKEN_PIPE = 128 + 13
ERROR = 3
_NAMES: dict[int, str] = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_received: list[int] = []


def exit_code_of(command, expected):
    """Run `command` and return its exit code, whatever becomes of it.

    What it returns, or 0 for None; 3 with one sentence for the exceptions `expected`, a mapping of types to functions
    that tell the sentence, and with a traceback for others; 130 and 143 when it was interrupted or terminated, even
    where the exception was lost on its way; 141, without a word, when nobody reads what it prints.
    """
    try:
        code = command() or 0
        sys.stdout.flush()
    except KeyboardInterrupt:
        _say(_NAMES[_received[0] if _received else signal.SIGINT])
        code = interruption()
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):
            # as rich makes of it
            code = BROKEN_PIPE
        else:
            # of code that is judged: it must not decide what is told of it
            code = _fail(f"the program was ended from within, by SystemExit({error.code!r})")
    except BrokenPipeError:
        code = BROKEN_PIPE
    except Exception as error:
        tell = next((tell for kind, tell in expected.items() if isinstance(error, kind)), None)
        if tell is None:
            with suppress(OSError):
                traceback.print_exc()
        code = ERROR if tell is None else _fail(tell(error))
    try:
        sys.stdout.flush()
    except OSError:
        # or the interpreter would try once more, and end with a code of its own
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return interruption() if _received else code


def interruption():
    """The exit code of a process that was interrupted: 130, or 143 if it was terminated."""
    return 128 + (_received[0] if _received else signal.SIGINT)


def stop_if_interrupted():
    """Raise an interruption again that was lost where exceptions are: in a destructor, in a callback of C code."""
    if _received:
        raise KeyboardInterrupt


@contextmanager
def signals(until_the_end):
    """SIGINT and SIGTERM raise KeyboardInterrupt and are remembered; a second one ends the process at once.

    until_the_end : the process has nothing else to do: whatever comes after the block is over, ends it as well.
    """
    _received.clear()
    before = {}
    if threading.current_thread() is threading.main_thread():
        # a shell may have told a process in the background to ignore them
        before = {n: signal.getsignal(n) for n in _NAMES if signal.getsignal(n) not in (signal.SIG_IGN, None)}
    owner = os.getpid()

    def leave(number, frame):
        if os.getpid() != owner:
            # a forked process is not a command, and dies of a signal
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if sys.stdout is not None and sys.stdout.isatty():
            # a bar hides the cursor
            os.write(1, b"\x1b[?25h")
        os._exit(128 + number)

    def receive(number, frame):
        if os.getpid() != owner or _received:
            leave(number, frame)
        _received.append(number)
        raise KeyboardInterrupt

    for number in before:
        signal.signal(number, receive)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, leave if until_the_end else handler)


@contextmanager
def one_line_warnings():
    """Warnings for the user are one line on standard error, as errors are."""
    shown = warnings.showwarning

    def show(message, category, *where, **options):
        if category is UserWarning:
            _say(f"quadlab: warning: {' '.join(str(message).split())}")
        else:
            shown(message, category, *where, **options)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = shown


def readable_streams():
    """Let standard output show a character that its encoding lacks by its number; a stream that is closed, nowhere."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _say(text):
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _fail(message):
    _say(f"quadlab: error: {' '.join(message.split())}")
    return ERROR
