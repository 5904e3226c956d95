"""Executions from start to end: time limits, stopping, nested executions, Map Runs and their children.

Follows the structure of ministack's `services/stepfunctions.py`,
Copyright (c) 2026 MiniStack Contributors, SPDX-License-Identifier: MIT.
"""

import json
import logging
import threading

import engine
from ministack.core.responses import json_response, now_iso
from ministack.services import stepfunctions as sfn
from stopping import Stopped, StopSignal

log = logging.getLogger("states")
_original_run, _original_start = sfn._run_execution, sfn._start_execution
_stops, _ended = {}, {}
_lock = threading.Lock()


def _signals(arn):
    """The stop signal of an execution, and the event that says that it is over."""
    with _lock:
        return _stops.setdefault(arn, StopSignal()), _ended.setdefault(arn, threading.Event())


def start_execution(data):
    """A repeated start with the same name and input answers the running execution, as AWS does."""
    arn = sfn._resolve_state_machine_arn(data.get("stateMachineArn", ""))
    if arn and data.get("name"):
        running = sfn._executions.get(arn.replace(":stateMachine:", ":execution:") + ":" + data["name"])
        if running and running["status"] == "RUNNING" and running["input"] == data.get("input", "{}"):
            return json_response({"executionArn": running["executionArn"], "startDate": running["startDate"]})
    return _original_start(data)


def run_execution(arn):
    """Runs a started execution to its end, in the calling thread."""
    execution = sfn._executions.get(arn)
    machine = sfn._state_machines.get(execution["stateMachineArn"]) if execution else None
    definition = json.loads(machine["definition"]) if machine else {}
    if definition.get("QueryLanguage") != "JSONata":
        return _original_run(arn)
    stop, ended = _signals(arn)
    timer = _time_limit(definition, execution, stop)
    try:
        _run_to_end(definition, machine, execution, stop)
    finally:
        if timer:
            timer.cancel()
        ended.set()


def _time_limit(definition, execution, stop):
    if "TimeoutSeconds" not in definition:
        return None

    def expire():
        if close(execution, "TIMED_OUT", error="States.Timeout"):
            stop.set()

    timer = threading.Timer(definition["TimeoutSeconds"], _in_this_scope(expire))
    timer.daemon = True
    timer.start()
    return timer


def _in_this_scope(work):
    import contextvars
    context = contextvars.copy_context()
    return lambda: context.run(work)


def _run_to_end(definition, machine, execution, stop):
    value = json.loads(execution["input"])
    context = {
        "Execution": {"Id": execution["executionArn"], "Input": value, "Name": execution["name"],
                      "RoleArn": machine["roleArn"], "StartTime": execution["startDate"], "RedriveCount": 0},
        "StateMachine": {"Id": machine["stateMachineArn"], "Name": machine["name"]}}
    try:
        output = engine.run_states(definition, value, engine.Scope(execution, context, {}, stop))
        close(execution, "SUCCEEDED", output=json.dumps(output))
    except Stopped:
        close(execution, "ABORTED")
    except engine.Failure as failure:
        close(execution, "FAILED", error=failure.error, cause=failure.cause)
    except Exception as error:
        log.exception("execution %s", execution["executionArn"])
        close(execution, "FAILED", error="States.Runtime", cause=repr(error))


_EVENTS = {"SUCCEEDED": "ExecutionSucceeded", "FAILED": "ExecutionFailed", "ABORTED": "ExecutionAborted",
           "TIMED_OUT": "ExecutionTimedOut"}


def close(execution, status, **how):
    """Gives an execution its final status, once, and announces it; false when it already had one."""
    with _lock:
        if execution["status"] != "RUNNING":
            return False
        execution.update(status=status, stopDate=now_iso(), **how)
    kind = _EVENTS[status]
    details = {key: value for key, value in how.items() if value is not None}
    sfn._add_event(execution, kind, {kind[0].lower() + kind[1:] + "EventDetails": details})
    if "mapRunArn" not in execution:
        sfn._emit_execution_status_event(execution)
    return True


def stop_execution(data):
    """StopExecution: the execution and everything that it started ends as ABORTED."""
    execution = sfn._executions.get(data.get("executionArn"))
    if not execution:
        return sfn.error_response_json("ExecutionDoesNotExist", "Execution Does Not Exist", 400)
    close(execution, "ABORTED", error=data.get("error"), cause=data.get("cause"))
    _signals(execution["executionArn"])[0].set()
    return json_response({"stopDate": execution["stopDate"]})


def start_nested(arguments):
    """`startExecution`: starts a machine and answers which execution that is; its end is nobody's here."""
    status, _, body = start_execution(sfn._nested_start_execution_request(arguments))
    answer = json.loads(body)
    if status >= 400:
        raise engine.Failure("StepFunctions." + answer.get("__type", "").split("#")[-1] + "Exception",
                             answer.get("message", ""))
    return {"ExecutionArn": answer["executionArn"], "StartDate": answer["startDate"]}


def run_nested(arguments, stop):
    """`startExecution.sync:2`: starts a machine, waits for it, and answers its description with parsed Output."""
    arn = start_nested(arguments)["ExecutionArn"]
    execution, (_, ended) = sfn._executions[arn], _signals(arn)
    stop.call_when_set(lambda: stop_execution({"executionArn": arn, "cause": "the parent execution was stopped"}))
    ended.wait()
    if execution["status"] == "SUCCEEDED":
        return {**_described(execution), "Output": json.loads(execution["output"])}
    raise engine.Failure("States.TaskFailed", json.dumps(_described(execution)))


def _described(execution):
    """DescribeExecution as the integration answers it: names in Pascal case."""
    fields = ("error", "cause", "executionArn", "input", "inputDetails", "name", "output", "outputDetails",
              "startDate", "stateMachineArn", "status", "stopDate")
    return {field[0].upper() + field[1:]: execution[field] for field in fields if execution.get(field) is not None}


def run_map(state, inputs, limit, scope):
    """A Distributed Map: one child execution per item, none of which sees the parent's variables."""
    parent = scope.execution["stateMachineArn"]
    label = state.get("Label") or engine.new_name()
    run_arn = f"{parent.replace(':stateMachine:', ':mapRun:')}/{label}:{engine.new_name()}"
    counts = {key: 0 for key in ("pending", "running", "succeeded", "failed", "timedOut", "aborted", "total",
                                 "resultsWritten", "failuresNotRedrivable", "pendingRedrive")}
    counts.update(total=len(inputs), pending=len(inputs))
    run = {"mapRunArn": run_arn, "executionArn": scope.execution["executionArn"], "status": "RUNNING",
           "startDate": now_iso(), "maxConcurrency": limit, "toleratedFailurePercentage": 0.0,
           "toleratedFailureCount": 0, "itemCounts": counts, "executionCounts": counts, "redriveCount": 0,
           "_stateMachineArn": f"{parent}/{label}"}
    sfn._map_runs[run_arn] = run
    scope.event("MapRunStarted", mapRunStartedEventDetails={"mapRunArn": run_arn})
    group = scope.inner()
    try:
        jobs = [lambda item=item: _run_child(state["ItemProcessor"], item, run, group) for item in inputs]
        results = engine.run_all(jobs, limit, group.stop)
    except engine.Failure:
        # "The default percentage value is zero, which means that the workflow fails if any one of its child workflow
        # executions fails or times out": always this error, never the child's own. Read 2026-11-21.
        _close_run(run, "FAILED")
        error, cause = "States.ExceedToleratedFailureThreshold", "The specified tolerated failure threshold was exceeded"
        scope.event("MapRunFailed", mapRunFailedEventDetails={"error": error, "cause": cause})
        raise engine.Failure(error, cause) from None
    except Stopped:
        _close_run(run, "ABORTED")
        scope.event("MapRunAborted")
        raise
    _close_run(run, "SUCCEEDED")
    scope.event("MapRunSucceeded")
    return results


def _close_run(run, status):
    run.update(status=status, stopDate=now_iso())


def _run_child(processor, item, run, group):
    name, stop = engine.new_name(), StopSignal(group.stop)
    machine_arn = run["_stateMachineArn"]
    arn = f"{machine_arn.replace(':stateMachine:', ':execution:')}:{name}"
    child = {"executionArn": arn, "stateMachineArn": machine_arn, "name": name, "status": "RUNNING",
             "startDate": now_iso(), "stopDate": None, "input": json.dumps(item), "inputDetails": {"included": True},
             "output": None, "outputDetails": {"included": True}, "mapRunArn": run["mapRunArn"], "events": []}
    sfn._executions[arn] = child
    context = {**group.context, "Execution": {**group.context["Execution"], "Id": arn, "Name": name, "Input": item,
                                              "StartTime": child["startDate"]}}
    scope = engine.Scope(child, context, {}, stop)
    scope.event("ExecutionStarted", executionStartedEventDetails={"input": child["input"]})
    _count(run, "pending", "running")
    try:
        output = engine.run_states(processor, item, scope)
        close(child, "SUCCEEDED", output=json.dumps(output))
        _count(run, "running", "succeeded")
        return output
    except Stopped:
        close(child, "ABORTED")
        _count(run, "running", "aborted")
        raise
    except engine.Failure as failure:
        close(child, "FAILED", error=failure.error, cause=failure.cause)
        _count(run, "running", "failed")
        raise


def _count(run, before, after):
    with _lock:
        run["itemCounts"][before] -= 1
        run["itemCounts"][after] += 1


def install():
    """Puts this module's functions in the place of ministack's."""
    sfn._run_execution, sfn._stop_execution, sfn._start_execution = run_execution, stop_execution, start_execution
