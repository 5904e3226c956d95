"""Starts the local cloud: ministack with our repairs. Refuses any version but the one the repairs were written for."""

import importlib.metadata
import json
import sys

MINISTACK = "1.5.33"


def main():
    """Installs the repairs and runs ministack until it is killed."""
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
    from ministack.app import main as run

    run()


if __name__ == "__main__":
    main()
