"""Runs the cells of one notebook in a plain IPython shell, without mlops_nb, and tells `result`.

Standard input: ``[[source, …], name]``; standard output's last line: its fingerprint and text.
"""

from __future__ import annotations

import json
import sys


def main() -> int:
    """Run, and tell."""
    sources, name = json.load(sys.stdin)
    from IPython.core.interactiveshell import InteractiveShell

    sys.path.insert(0, "")  # as a kernel has it
    shell = InteractiveShell.instance()
    for source in sources:
        ran = shell.run_cell(source, store_history=True)
        if not ran.success:
            sys.stdout.flush()
            return 1
    import mlops_nb

    value = shell.user_ns[name]
    told = {"digest": mlops_nb.fingerprint(value).digest, "text": repr(value)}
    sys.stdout.write("\n" + json.dumps(told) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
