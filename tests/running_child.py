"""A driver in a process of its own: runs a notebook, writes what it is told, and may be killed.

Arguments: path, store, and JSON of more arguments of `run_pipeline`.
"""

from __future__ import annotations

import json
import sys

from mlops_nb.errors import MlopsNbError
from mlops_nb.pipeline.running import run_pipeline


def main() -> int:
    """Run, and tell each state as one line."""
    path, store, more = sys.argv[1:]

    def tell(seen) -> None:
        if seen.what in {"begin", "state"}:
            sys.stdout.write(json.dumps([seen.what, seen.step, seen.state, seen.run]) + "\n")
            sys.stdout.flush()

    try:
        outcome = run_pipeline(path, store=store, observer=tell, pages=False, **json.loads(more))
    except KeyboardInterrupt as stopped:
        outcome = stopped.args[0]
    except MlopsNbError as error:
        sys.stdout.write(json.dumps(["error", type(error).__name__, str(error), ""]) + "\n")
        return error.exit_code
    document = outcome.document()
    states = {step["name"]: step["step_state"] for step in document["steps"]}
    sys.stdout.write(json.dumps(["end", document["status"], states, document["id"]]) + "\n")
    return outcome.exit_code


if __name__ == "__main__":
    sys.exit(main())
