"""Loading into a shell, and leaving it as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_nb.loading import without_collection

if TYPE_CHECKING:
    from collections.abc import Callable

_loaded: dict[int, Callable[[], None]] = {}


def load(shell: Any) -> None:
    """Register the magics and the cell transformer; a second time does nothing."""
    if id(shell) in _loaded:
        return
    with without_collection():
        from mlops_nb.magics import MlopsMagics, open_cell_runs

    before = {kind: dict(table) for kind, table in shell.magics_manager.magics.items()}
    shell.register_magics(MlopsMagics)
    shell.input_transformers_cleanup.append(open_cell_runs)

    def undo() -> None:
        for kind, table in shell.magics_manager.magics.items():
            for name in [name for name in table if name.startswith("mlops_")]:
                if name not in before[kind]:
                    del table[name]
        shell.magics_manager.registry.pop(MlopsMagics.__name__, None)
        if open_cell_runs in shell.input_transformers_cleanup:
            shell.input_transformers_cleanup.remove(open_cell_runs)

    _loaded[id(shell)] = undo


def unload(shell: Any) -> None:
    """Turn tracking off and undo `load`; does nothing where nothing was loaded."""
    from mlops_nb.session import stop_session

    stop_session()
    undo = _loaded.pop(id(shell), None)
    if undo is not None:
        undo()
