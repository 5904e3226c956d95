"""Starts the local cloud: ministack with our repairs. Refuses any version but the one the repairs were written for."""

import importlib.metadata
import json
import sys
import threading

MINISTACK = "1.5.33"


def main():
    """Installs the repairs and runs ministack until its standard input ends (its starter is gone) or it is killed."""
    version = importlib.metadata.version("ministack")
    if version != MINISTACK:
        sys.exit(f"the local cloud's overlay is written for ministack {MINISTACK}, but {version} is installed: "
                 "run `cargo x setup`")
    import features
    import provisioning
    import runs
    from ministack.services import stepfunctions as sfn

    original = sfn._validate_definition_jsonata

    def validate(text):
        refused = original(text)
        definition = json.loads(text) if isinstance(text, str) and not refused else {}
        if refused or definition.get("QueryLanguage") != "JSONata":
            return refused
        missing = features.unproven(definition)
        return f"not proven by any case on the local engine: {'; '.join(missing)}" if missing else None

    sfn._validate_definition_jsonata = validate
    provisioning.install()
    runs.install()
    if "--watch-stdin" in sys.argv:
        sys.argv.remove("--watch-stdin")
        threading.Thread(target=_die_with_starter, daemon=True).start()
    from ministack.app import main as run

    run()


def _die_with_starter():
    """Blocks until the starter's end of our standard input is closed, then kills our whole process group."""
    import os
    import signal

    while sys.stdin.buffer.read(4096):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main()
