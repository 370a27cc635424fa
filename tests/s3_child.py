"""A process of the environment that has S3's library: runs what a test sends, one line each.

The environment of the other tests cannot have that library: it needs older ones of others.
"""

from __future__ import annotations

import json
import sys
import traceback


def main() -> None:
    """Answer each line: a JSON list of the text of a program and the variables it begins with."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # what a library prints is no answer
    for line in sys.stdin:
        program, names = json.loads(line)
        space: dict[str, object] = dict(names)
        try:
            exec(compile(program, "<test>", "exec"), space)  # noqa: S102 - the test's own text
            answer = {"result": space.get("result")}
        except Exception as error:  # noqa: BLE001 - the edge of this process: the test judges it
            traceback.print_exc()
            kinds = [kind.__name__ for kind in type(error).__mro__]
            answer = {"error": str(error), "kinds": kinds}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
