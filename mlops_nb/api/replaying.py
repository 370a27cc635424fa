"""Getting a run again: its cells with `restore`, its results with `replay`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlops_nb.api.current import open_store

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from mlops_nb.display.replay import ReplayView, RestoredView
    from mlops_nb.replay import Watcher


def restore(
    reference: str = "@-1",
    path: str | Path | None = None,
    *,
    outputs: bool = False,
    force: bool = False,
) -> NotebookNode:
    """Get the recorded cells of a run back as a notebook, in the order in which they ran.

    Parameters
    ----------
    reference
        As in `show`.
    path
        Where to write it; only given back if left out.
    outputs
        Whether the cells carry what they showed.
    force
        Whether a file that is there is overwritten.

    Returns
    -------
    nbformat.NotebookNode
        Secrets in it stay ``⟨secret:NAME⟩``.

    Raises
    ------
    RunNotFound, AmbiguousReference
        No run, or more than one, matches.
    BadNotebook
        No cell of the run is recorded, or there is a file already.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> mn.restore("@best:auc", "best.ipynb")  # doctest: +SKIP
    """
    from mlops_nb.replay import choose, write_restored
    from mlops_nb.replay import restore as restored

    with open_store() as store:
        notebook = restored(store, choose(store, reference), outputs=outputs)
    if path is not None:
        write_restored(notebook, Path(path), force=force)
    return notebook


def restore_to(
    reference: str, path: str | Path | None, *, outputs: bool, force: bool
) -> RestoredView:
    """Write the cells of a run as `restore` does, and say where; the magic's half of it."""
    from mlops_nb.display.replay import RestoredView
    from mlops_nb.replay import choose, default_name, write_restored
    from mlops_nb.replay import restore as restored

    with open_store() as store:
        run = choose(store, reference)
        notebook = restored(store, run, outputs=outputs)
    written = write_restored(notebook, Path(path or default_name(run)), force=force)
    return RestoredView(run, written, len(notebook.metadata.mlops_nb.executions))


def replay(
    reference: str = "@-1",
    *,
    trust: bool = False,
    output: str | Path | None = None,
    folder: str | Path | None = None,
    watcher: Watcher | None = None,
) -> ReplayView:
    """Run a run's cells again in a fresh kernel, and compare all data and metrics.

    Parameters
    ----------
    reference
        As in `show`.
    trust
        Whether cells that you may not have recorded are run.
    output
        The executed notebook; in the store if left out.
    folder
        Where the cells run; the notebook's folder if left out.
    watcher
        Is told of the progress, and asked where `trust` is not given.

    Returns
    -------
    ReplayView
        Its `outcome` is one of ``verified``, ``verified-close``, ``differs``, ``needs-secret``,
        ``not-replayable``; its `replay` has all that was compared.

    Raises
    ------
    RunNotFound, AmbiguousReference
        No run, or more than one, matches.
    NotTrusted
        Someone else recorded it, and `trust` is not given.

    Examples
    --------
    >>> import mlops_nb as mn
    >>> mn.replay("@best:auc").outcome  # doctest: +SKIP
    'verified'
    """
    from mlops_nb.display.replay import ReplayView
    from mlops_nb.replay import choose
    from mlops_nb.replay import replay as replayed

    with open_store() as store:
        found = replayed(
            store,
            choose(store, reference),
            trust=trust,
            output=None if output is None else Path(output),
            folder=None if folder is None else Path(folder),
            watcher=watcher,
        )
    return ReplayView(found)
