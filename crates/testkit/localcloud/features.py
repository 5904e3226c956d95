"""What a state machine makes use of, so that it can be compared with what the cases prove."""

import json
import pathlib
import re

HERE = pathlib.Path(__file__).resolve().parent
_CALL = re.compile(r"\$([a-zA-Z][a-zA-Z0-9]*)\s*\(")
_DEFINED = re.compile(r"\$([a-zA-Z][a-zA-Z0-9]*)\s*:=")
_STATES = re.compile(r"\$states\.(input|result|errorOutput|context(?:\.[A-Z][A-Za-z]*)*)")


def proven():
    """The features that the local engine is shown to have: features.json."""
    return json.loads((HERE / "features.json").read_text())


def used(definition):
    """The features of one state machine definition, in the shape of features.json."""
    found = {"state_types": set(), "fields": {}, "resources": set(), "jsonata_functions": set(), "states": set()}
    _machine(definition, "Machine", found)
    return found


def merged(many):
    """The union of several answers of `used`, sorted, as JSON."""
    total = {"state_types": set(), "fields": {}, "resources": set(), "jsonata_functions": set(), "states": set()}
    for found in many:
        for key in ("state_types", "resources", "jsonata_functions", "states"):
            total[key] |= found[key]
        for kind, names in found["fields"].items():
            total["fields"].setdefault(kind, set()).update(names)
    flat = {key: sorted(total[key]) for key in ("state_types", "resources", "jsonata_functions", "states")}
    # A comment does nothing, wherever AWS allows one: in a machine and in a state.
    for kind in [*total["state_types"], "Machine"]:
        total["fields"][kind].add("Comment")
    fields = {kind: sorted(names) for kind, names in sorted(total["fields"].items())}
    return {"state_types": flat["state_types"], "fields": fields, "resources": flat["resources"],
            "jsonata_functions": flat["jsonata_functions"], "states": flat["states"]}


def unproven(definition):
    """Every feature of the definition that features.json does not list, as sentences."""
    have, want = proven(), merged([used(definition)])
    missing = [f"{key}: {name}" for key in ("state_types", "resources", "jsonata_functions", "states")
               for name in want[key] if name not in have[key]]
    for kind, names in want["fields"].items():
        missing += [f"field {kind}.{name}" for name in names if name not in have["fields"].get(kind, [])]
    return missing


def _machine(machine, kind, found):
    _fields(kind, machine, found)
    for state in machine["States"].values():
        _state(state, found)


def _state(state, found):
    kind = state["Type"]
    found["state_types"].add(kind)
    if "Resource" in state:
        found["resources"].add(state["Resource"])
    _fields(kind, state, found)
    for choice in state.get("Choices", []):
        _fields("Choices", choice, found)
    for branch in state.get("Branches", []):
        _machine(branch, "Branches", found)
    for part in ("Retry", "Catch"):
        for handler in state.get(part, []):
            _fields(part, handler, found)
    if "ItemReader" in state:
        _fields("ItemReader", state["ItemReader"], found)
        _fields("ReaderConfig", state["ItemReader"].get("ReaderConfig", {}), found)
        found["resources"].add(state["ItemReader"]["Resource"])
    if "ItemProcessor" in state:
        _fields("ProcessorConfig", state["ItemProcessor"].get("ProcessorConfig", {}), found)
        _machine(state["ItemProcessor"], "ItemProcessor", found)


def _fields(kind, holder, found):
    found["fields"].setdefault(kind, set()).update(holder)
    nested = ("States", "Branches", "ItemProcessor", "Choices", "Retry", "Catch")
    _expressions({key: value for key, value in holder.items() if key not in nested}, found)


def _expressions(value, found):
    if isinstance(value, dict):
        for inner in value.values():
            _expressions(inner, found)
    elif isinstance(value, list):
        for inner in value:
            _expressions(inner, found)
    elif isinstance(value, str) and value.startswith("{%"):
        found["jsonata_functions"] |= set(_CALL.findall(value)) - set(_DEFINED.findall(value)) - {"function"}
        found["states"] |= set(_STATES.findall(value))
