"""Answers of functions that get lost on their way, so that the state machine invokes the function once more.

Step Functions gives "at-least-once" for tasks that it retries, and an answer can be lost after the work was done. While
the file that `KEEPSAKE_LOSE_ANSWERS` names exists, the first answer to each payload is lost, and the function's ARN is
written there, a line each. Tests make the file and read it.
"""

import json
import os
import threading

_lock = threading.Lock()
_lost = set()


def is_lost(arguments):
    """Whether this answer is lost; at the second time of the same arguments it is not."""
    path = os.environ.get("KEEPSAKE_LOSE_ANSWERS")
    if not path or not os.path.exists(path):
        return False
    key = json.dumps(arguments, sort_keys=True)
    with _lock:
        first = key not in _lost
        _lost.add(key)
        if first:
            with open(path, "a", encoding="utf-8") as file:
                file.write(arguments["FunctionName"] + "\n")
    return first
