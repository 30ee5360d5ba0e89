"""A progress bar on a terminal, nothing elsewhere."""

import contextlib

__all__ = ["bar"]

UPDATES = 200


@contextlib.contextmanager
def bar(steps, done, *, show):
    """Gives a function of the run that moves the bar."""
    if show:
        from rich.console import Console

        console = Console(stderr=True)
        show = console.is_terminal
    if not show:
        yield lambda run: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task("", total=steps, completed=done)

        def move(run):
            # a redraw costs as much as a step of a small network
            if run.step % max(steps // UPDATES, 1) == 0:
                latest = run.latest
                said = [f"{name} {float(latest[name]):.4g}" for name in ("loss", "sharpness") if name in latest]
                shown.update(task, completed=run.step, description=", ".join(said))

        yield move
