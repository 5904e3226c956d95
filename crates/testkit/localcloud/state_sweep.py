"""Every state of every machine fails, and runs twice: `state_sweep.py FOLDER` over the `*.asl.json` there.

The definitions run as they are, on the engine of this folder, in this process; functions are scripted, because what is
shown here is the graph: on whatever way a run ends, the lease is back, the snapshot released, the throwaway instance
dropped, the failure recorded and somebody told. States are read from the definitions, so a new one is swept too; one that
nothing here enters is an error.
"""

import contextvars
import copy
import json
import pathlib
import re
import sys
import threading
import time

import engine
import runs
from ministack.services import stepfunctions as sfn
from stopping import Stopped, StopSignal

# A branch waits so long for another one at most; on this machine it takes milliseconds.
PATIENCE_SECONDS = 30
WORLD = contextvars.ContextVar("world")

RUN = {"execution_id": "run", "policy": "nightly", "relay_seconds": 60, "test_restore": True, "notify_success": True,
       "backup_id": "backup", "copies": [{"repository": "s3://one"}, {"repository": "s3://two"}]}
CAPTURE_RUN = {"execution_id": "run", "policy": "nightly", "source": "wedsync", "copies": RUN["copies"]}
PROTECTED = {"ready": True, "why": "", "run": CAPTURE_RUN}
CAPTURED = {"end_lsn": "0/1", "ended_at": "2026-11-21T01:00:00Z", "gap": "", "notice": "", "start_full": False, "more": False}
# What any function may answer; a state takes from it what it needs.
ANSWER = {"bucket": "work", "key": "items.json", "status": "available", "verdict": "passed", "released": False,
          "test": {"test_id": "test", "started_at": "2026-11-21T01:00:00Z"}}
# States that may fail for ever: the run completes all the same, and what failed is noted.
TOLERATED = {("incremental", "CopyChanges"), ("incremental", "ProbeRpo"), ("incremental", "RecordCopyFailure")}
# Of these a failure that passes is not tried again at once, because nothing is captured meanwhile: it is noted.
UNREPEATED = {("incremental", "CopyChanges"), ("incremental", "ProbeRpo")}
# What a failure of each machine is told as. A machine that another one starts fails as that one.
TOLD = {"backup": "backup_failed", "incremental": "capture_failed"}

# Errors that pass: one try fails, before or after it did its work. The run must end as if nothing had been.
PASSING = [("Keepsake.Transient", False), ("Keepsake.Transient", True), ("Lambda.Unknown", True)]
# Of a state that starts another machine: Step Functions itself had no room, and nothing was started.
BUSY = ("StepFunctions.ExecutionLimitExceeded", False)
# Of a Map: nothing was started yet.
UNREADABLE = ("States.ItemReaderFailed", False)
# Errors that stay: every try fails.
STAYING = [("Keepsake.Permanent", False), ("Keepsake.Integrity", False), ("Keepsake.Conflict", False),
           ("Keepsake.Transient", False), ("States.Timeout", True)]
# A Distributed Map ends so, whatever its children's errors were.
MAP_FAILED = "States.ExceedToleratedFailureThreshold"

# Answers that lead where no error does, by state: of the backup machine, and below of the incremental one.
ROADS = {
    "differs": {"VerifyFinish": {"verdict": "failed"}},
    "no verdict": {"VerifyFinish": {"verdict": "inconclusive"}},
    "never available": {"ProvisionInstance": {"status": "preparing"}},
    "available after a while": {"ProvisionInstance": [{"status": "preparing"}, {"status": "available"}]},
    "gone after a while": {"DropInstance": [{"status": "deleting"}, {"status": "gone"}]},
    "never gone": {"DropInstance": {"status": "deleting"}},
    "the first lane holds for ever": {"HoldFirstHalf": {"released": False}, "HoldFirst": {"released": False}},
    "the second lane holds for ever": {"HoldSecond": {"released": False}},
    "no test restore": {"Begin": {**RUN, "test_restore": False}},
    "success is not told": {"Begin": {**RUN, "notify_success": False}},
}
CAPTURE_ROADS = {
    "captured": {},
    "another capture runs": {"Protect": {"ready": False, "why": "held", "run": None}},
    "relays": {"Capture": [{**CAPTURED, "more": True}, CAPTURED]},
    "relays for ever": {"Capture": {**CAPTURED, "more": True}},
    "changes are lost": {"Capture": {**CAPTURED, "gap": "slot", "notice": "changes_lost", "start_full": True}},
    "a copy is behind": {"CopyChanges": [{"more": True}, {"more": False}]},
    "a copy is behind for ever": {"CopyChanges": {"more": True}},
    "a full is wanted again": {"Capture": [{**CAPTURED, "start_full": True, "more": True}, CAPTURED]},
}


class World:
    """What the functions of one run did, and which of its states goes wrong how."""

    def __init__(self, road=None, faults=()):
        self.machine = "incremental" if road in CAPTURE_ROADS else "backup"
        # A copy: answers in a list are used up.
        self.road, self.faults = copy.deepcopy({**ROADS, **CAPTURE_ROADS}.get(road, {})), list(faults)
        self.lock, self.changed = threading.Lock(), threading.Condition()
        self.entered, self.calls = set(), {}
        self.lease = self.holding = self.instance = self.sealed = self.completed = False
        self.recorded, self.told, self.waiting_lanes, self.fulls = False, [], 0, 0
        self.copies_failed = 0
        # Calls of each state, repeated ones too.
        self.tries = {}
        self.failed_states, self.wrong = set(), []

    def left(self):
        """What a run left behind, in words."""
        states = {"lease": self.lease, "snapshot": self.holding, "throwaway instance": self.instance}
        return [name for name, is_left in states.items() if is_left]

    def end(self):
        """What must be the same when a step ran twice."""
        return (self.sealed, self.completed, self.recorded, sorted(set(self.told)), self.fulls > 0,
                self.copies_failed > 0, self.left())

    def act(self, function, state, payload, stop):
        """Does what the function of that name does, and answers."""
        if function == "HoldSnapshot":
            return self.hold(state, stop)
        if function == "Dump":
            # Both lanes hold before anything is read; where one fails, the Parallel state stops this branch.
            self.wait_until(lambda: self.waiting_lanes == 2, stop)
        with self.changed:
            self.change(function, payload)
            self.changed.notify_all()
        answers = {"Begin": RUN, "Protect": PROTECTED, "Capture": CAPTURED, "CopyChanges": {"more": False}}
        if function in answers:
            return dict(answers[function])
        return {**ANSWER, **({"status": "gone"} if function == "DropInstance" else {})}

    def change(self, function, payload):
        if function in ("Begin", "Protect"):
            # A capture that finds another one at work leases nothing.
            self.lease = self.road.get("Protect", PROTECTED)["ready"]
        elif function == "ReleaseSnapshot":
            self.holding = False
        elif function == "Seal":
            self.sealed = True
        elif function == "ProvisionInstance":
            self.instance = True
        elif function == "DropInstance":
            self.instance = False
        elif function == "Record":
            self.completed, self.lease = True, False
        elif function == "RecordFailure":
            self.recorded = not self.completed
            self.lease = self.holding = self.instance = False
        elif function == "RecordCapture" and "copy" in payload:
            self.copies_failed += 1
        elif function == "RecordCapture":
            self.completed, self.recorded = self.completed or "run" in payload, self.recorded or "failure" in payload
            self.lease = False
        elif function == "Alert":
            self.told.append(payload["kind"])

    def hold(self, state, stop):
        """The first hold of each state relays at once; the next one lasts until the snapshot is released."""
        with self.lock:
            count = self.calls[("hold", state)] = self.calls.get(("hold", state), 0) + 1
        with self.changed:
            if count == 1:
                self.holding = True
                return {"released": False}
            self.waiting_lanes += 1
            self.changed.notify_all()
        self.wait_until(lambda: not self.holding, stop)
        return {"released": True}

    def wait_until(self, is_so, stop):
        stop.call_when_set(self.wake)
        deadline = time.monotonic() + PATIENCE_SECONDS
        with self.changed:
            while not is_so():
                stop.check()
                if not self.changed.wait(deadline - time.monotonic()):
                    raise AssertionError("a branch waited in vain for another")

    def wake(self):
        with self.changed:
            self.changed.notify_all()

    def fault(self, machine, state):
        """The fault of this try of a state, if it has one."""
        with self.lock:
            self.tries[state] = self.tries.get(state, 0) + 1
            for index, (at, error, is_done, times) in enumerate(self.faults):
                if at == (machine, state) and times > 0:
                    self.faults[index] = (at, error, is_done, times - 1)
                    self.failed_states.add(state)
                    return error, is_done
        return None, True


def call(resource, arguments, _seconds, scope):
    """In the place of the engine's: scripted functions, and nested machines in this process."""
    world, machine, state = WORLD.get(), scope.context["StateMachine"]["Name"], scope.context["State"]["Name"]
    error, is_done = world.fault(machine, state)
    if not error or is_done:
        answer = integrate(world, resource, arguments, state, scope)
    if error:
        raise engine.Failure(error, "scripted")
    return answer


def integrate(world, resource, arguments, state, scope):
    if resource == "arn:aws:states:::states:startExecution.sync:2":
        name = arguments["StateMachineArn"].removeprefix("${").removesuffix("StateMachineArn}")
        nested = start(machine_of(name), arguments["Input"], scope.stop)
        # The machine that makes it drops it, though the failure path of the one around it would do so too.
        if world.instance and "DropInstance" not in world.failed_states and "DropInstance" not in world.road:
            world.wrong.append(f"{name} ended as {nested['status']} and left its instance")
        if nested["status"] != "SUCCEEDED":
            raise engine.Failure("States.TaskFailed", json.dumps(runs._described(nested)))
        return {**runs._described(nested), "Output": json.loads(nested["output"])}
    if resource == "arn:aws:states:::states:startExecution":
        world.fulls += 1
        return {"ExecutionArn": "arn:full", "StartDate": "2026-11-21T01:00:00Z"}
    function = arguments["FunctionName"].removeprefix("${").removesuffix("FunctionArn}")
    scripted = world.road.get(state)
    if isinstance(scripted, list):
        with world.lock:
            scripted = scripted.pop(0) if len(scripted) > 1 else scripted[0]
    if scripted is not None and function == "HoldSnapshot":
        return {"Payload": scripted}
    answer = world.act(function, state, arguments["Payload"], scope.stop)
    return {"Payload": {**answer, **(scripted or {})}}


def items(state, value, scope):
    """In the place of the engine's: a Map can fail where it reads its items."""
    machine, name = scope.context["StateMachine"]["Name"], scope.context["State"]["Name"]
    error, _ = WORLD.get().fault(machine, name)
    if error:
        raise engine.Failure(error, "scripted")
    return _items(state, value, scope)


def run_state(name, state, value, scope):
    WORLD.get().entered.add((scope.context["StateMachine"]["Name"], name))
    return _run_state(name, state, value, scope)


_items, _run_state = engine._items, engine._run_state
engine._call, engine._items, engine._run_state = call, items, run_state
# Nothing is waited for: pauses between retries and looks pass at once.
StopSignal.sleep = lambda self, _seconds: self.check()
sfn._s3_object_text = lambda _bucket, _key: "[1, 2]"
sfn._emit_execution_status_event = lambda _execution: None


def start(machine, value, parent=None):
    """Runs one machine to its end; answers its execution's record."""
    name, definition = machine
    execution = {"executionArn": f"arn:{name}", "stateMachineArn": f"arn:stateMachine:{name}", "name": "one",
                 "status": "RUNNING", "startDate": "2026-11-21T01:00:00Z", "stopDate": None, "input": json.dumps(value),
                 "output": None, "events": []}
    described = {"roleArn": "role", "stateMachineArn": execution["stateMachineArn"], "name": name}
    runs._run_to_end(definition, described, execution, StopSignal(parent))
    return execution


def machine_of(name):
    """`TestRestore` is `test-restore`."""
    return next(one for one in MACHINES.items() if one[0].replace("-", "") == name.lower())


def states_of(definition):
    """Every state of a definition, inner ones too."""
    for name, state in definition["States"].items():
        yield name, state
        for inner in [*state.get("Branches", []), *([state["ItemProcessor"]] if "ItemProcessor" in state else [])]:
            yield from states_of(inner)


def run(road=None, faults=()):
    """One run of the machine that the road belongs to, with the nested ones in it."""
    world = World(road, faults)
    WORLD.set(world)
    return world, start((world.machine, MACHINES[world.machine]), {"policy": "nightly", "requested_by": "sweep"})


def rule(world):
    """The rule on executions that failed: it does what no state was left to do."""
    if world.machine == "incremental":
        world.change("RecordCapture", {"failure": {}})
    else:
        world.change("RecordFailure", {})
    world.change("Alert", {"kind": TOLD[world.machine]})


class Sweep:
    """Points so far, states entered, and what was wrong."""

    def __init__(self):
        self.points, self.entered, self.wrong, self.ways = {}, set(), [], {}

    def note(self, at, kind, world, problems):
        self.points[kind] = self.points.get(kind, 0) + 1
        self.entered |= world.entered
        self.wrong += [f"{at}: {problem}" for problem in problems + world.wrong]

    def roads(self):
        """Every road's end, and which states it leads to."""
        for road in [None, *ROADS, *CAPTURE_ROADS]:
            world, execution = run(road)
            problems = [f"left behind: {world.left()}"] if world.left() else []
            if execution["status"] != "SUCCEEDED" and not (world.recorded and world.told == [TOLD[world.machine]]):
                problems.append(f"{execution['status']}, recorded {world.recorded}, told {world.told}")
            if road == "changes are lost" and (world.fulls, world.told) != (1, ["changes_lost"]):
                problems.append(f"a gap started {world.fulls} fulls and told {world.told}")
            self.note(f"road {road}", "roads", world, problems)
            self.learn(world, road, (), execution)

    def learn(self, world, road, faults, execution):
        for state in world.entered:
            self.ways.setdefault(state, (road, faults, execution.get("error")))

    def staying(self, at, error, is_done):
        road, before, failed = self.ways[at]
        world, execution = run(road, [*before, (at, error, is_done, 10 ** 6)])
        if at in TOLERATED:
            self.tolerated(at, (road, before), (error, is_done), world, execution)
            return
        problems = []
        if execution["status"] == "SUCCEEDED":
            problems.append("the run looks good")
        if failed:
            # The failure path itself failed; then the rule is what is left.
            rule(world)
        # The first error is the one to tell.
        if execution.get("error") not in (failed or error, MAP_FAILED):
            problems.append(f"told as {execution.get('error')}: {execution.get('cause')}")
        if world.left():
            problems.append(f"left behind: {world.left()}")
        if not world.recorded and not world.completed:
            problems.append("the failure was not recorded")
        if TOLD[world.machine] not in world.told:
            problems.append(f"told {world.told}")
        self.note(f"{at} {error} for ever", "failed for ever", world, problems)
        if not failed:
            self.learn(world, road, [(at, error, is_done, 10 ** 6)], execution)

    def tolerated(self, at, way, fault, world, execution, failures=len(CAPTURE_RUN["copies"])):
        """A state whose failure fails no run: the run ends as without it, and the failure is noted, by who can."""
        problems = [f"left behind: {world.left()}"] if world.left() else []
        if (execution["status"], world.completed, world.told) != ("SUCCEEDED", True, []):
            problems.append(f"{execution['status']}, completed {world.completed}, told {world.told}")
        if at[1] != "RecordCopyFailure" and world.copies_failed != failures:
            problems.append(f"{world.copies_failed} failures of copies were noted")
        self.note(f"{at} {fault[0]}, {failures} noted", "failed, and no run did", world, problems)
        self.learn(world, way[0], [*way[1], (at, *fault, 10 ** 6)], execution)

    def away(self):
        """A place that is away for ever, or lets every call hang, holds few captures up: one try of each copy behind every
        fourth of the run's 100, and none of them twice."""
        for state in ("CopyChanges", "ProbeRpo"):
            for error in ("States.Timeout", "Keepsake.Transient", "Sandbox.Timedout", "Keepsake.Permanent"):
                world, execution = run("relays for ever", [(("incremental", state), error, True, 10 ** 6)])
                tries = (execution["status"], world.tries["Capture"], world.tries[state])
                problems = [] if tries == ("SUCCEEDED", 100, 50) else [f"{tries}"]
                self.note(f"{state} {error} in every relay", "places that are away", world, problems)

    def passing(self, at, error, is_done):
        road, before, _ = self.ways[at]
        (calm, same), (world, execution) = run(road, before), run(road, [*before, (at, error, is_done, 1)])
        if at in UNREPEATED:
            self.tolerated(at, (road, before), (error, is_done), world, execution, failures=1)
            return
        problems = []
        if (calm.end(), same["status"]) != (world.end(), execution["status"]):
            problems.append(f"{world.end()}, {execution['status']}, {execution.get('error')} instead of {calm.end()}")
        self.note(f"{at} {error} once", "failed once or ran twice", world, problems)


def passing_of(state):
    """What may go wrong once with a state."""
    if state["Type"] == "Map":
        return [UNREADABLE]
    return [*PASSING, BUSY] if "startExecution" in state["Resource"] else PASSING


def main():
    """Sweeps all machines, and prints how many points that were."""
    sweep, began = Sweep(), time.monotonic()
    sweep.roads()
    sweep.away()
    kinds = {(name, state): value for name, machine in MACHINES.items() for state, value in states_of(machine)}
    swept = set()
    # States of failure paths become known by the failures that lead to them.
    for _ in range(3):
        known = [at for at in sweep.ways if at not in swept and kinds[at]["Type"] in ("Task", "Map")]
        for at in sorted(known):
            for error, is_done in STAYING if kinds[at]["Type"] == "Task" else [UNREADABLE]:
                sweep.staying(at, error, is_done)
            for error, is_done in passing_of(kinds[at]):
                sweep.passing(at, error, is_done)
            swept.add(at)
    never = sorted(set(kinds) - sweep.entered)
    print(f"state sweep: {len(kinds)} states, {len(swept)} of which do something; points: "
          f"{', '.join(f'{count} {kind}' for kind, count in sweep.points.items())}; {time.monotonic() - began:.0f} s")
    print(*sweep.wrong, *(f"nothing enters {machine}: {state}" for machine, state in never), sep="\n")
    sys.exit(1 if sweep.wrong or never else 0)


if __name__ == "__main__":
    # What the template puts in: numbers; names of functions stay as they are.
    MACHINES = {path.name.removesuffix(".asl.json"): json.loads(re.sub(r"\$\{\w*(?<!Arn)\}", "4", path.read_text()))
                for path in sorted(pathlib.Path(sys.argv[1]).glob("*.asl.json"))}
    main()
