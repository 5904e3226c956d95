"""State machines in JSONata as AWS documents them: states, retries, catchers, variables, stopping.

Replaces the interpreter of ministack 1.5.33 for machines whose QueryLanguage is JSONata; Lambda calls, S3 reads,
evaluation of a single expression and the records that the API answers from stay ministack's.

Follows the structure of ministack's `services/stepfunctions.py`,
Copyright (c) 2026 MiniStack Contributors, SPDX-License-Identifier: MIT.
"""

import contextvars
import json
import random
import threading
from datetime import datetime, timezone

import lost_answers
from ministack.core.responses import new_uuid, now_iso
from ministack.services import stepfunctions as sfn
from stopping import Stopped, StopSignal

Failure = sfn._ExecutionError

# "Maximum input or output size for a task, state, or execution": 256 KiB of UTF-8. Service quotas, read 2026-11-21.
PAYLOAD_LIMIT_BYTES = 256 * 1024
# Neither Retry nor Catch on States.ALL sees these two. Error handling guide, read 2026-11-21.
NOT_IN_ALL = ("States.DataLimitExceeded", "States.Runtime")
# Concurrent iterations of an inline Map; child executions of a Distributed Map are held to fewer than AWS's 10,000,
# since each is a thread here.
INLINE_LIMIT, DISTRIBUTED_LIMIT = 40, 64


class Scope:
    """Where a state runs: its execution's record, its context object, its variables, and its stop signal."""

    def __init__(self, execution, context, variables, stop):
        self.execution, self.context, self.variables, self.stop = execution, context, variables, stop

    def inner(self, **context):
        """An inner scope: reads the outer variables, never writes them."""
        return Scope(self.execution, {**self.context, **context}, dict(self.variables), StopSignal(self.stop))

    def evaluate(self, template, state_input, result=None, error=None):
        """A payload template with every `{% %}` string in it evaluated."""
        context = {**self.context, "variables": self.variables}
        return _plain(sfn._apply_jsonata_template(template, state_input, context, result, error))

    def field(self, holder, name, kind, state_input, default=None, result=None, error=None):
        """A field that may be an expression, held to the JSON type that AWS asks for."""
        if name not in holder:
            return default
        value = self.evaluate(holder[name], state_input, result, error)
        if sfn._json_type(value) != kind:
            raise Failure("States.QueryEvaluationError", f"The JSONata expression specified for the field '{name}' "
                          f"returned an unexpected result type. Expected '{kind}', but was '{sfn._json_type(value)}'")
        return value

    def event(self, kind, **details):
        """Adds one event to the execution's history."""
        with _history_lock:
            events = self.execution["events"]
            events.append({"id": len(events) + 1, "previousEventId": len(events), "type": kind,
                           "timestamp": now_iso(), **details})


_history_lock = threading.Lock()


def _plain(value):
    """JSON as AWS would write it: plain lists and objects, whole numbers without a fraction."""
    def whole(number):
        return int(number) if float(number).is_integer() else float(number)
    return json.loads(json.dumps(value, default=list), parse_float=whole)


def run_states(machine, state_input, scope):
    """Walks one machine, branch or iteration from StartAt to its end, and answers its output."""
    name, value = machine["StartAt"], state_input
    while name is not None:
        scope.stop.check()
        state = machine["States"].get(name)
        if state is None:
            raise Failure("States.Runtime", f"state '{name}' does not exist")
        value, name = _run_state(name, state, _held_to_limit(value, name), scope)
        _held_to_limit(value, name)
    return value


def _held_to_limit(value, name):
    if len(json.dumps(value, ensure_ascii=False).encode()) > PAYLOAD_LIMIT_BYTES:
        raise Failure("States.DataLimitExceeded", f"The state/task '{name}' returned a result with a size exceeding "
                      "the maximum number of bytes service limit.")
    return value


def _run_state(name, state, value, scope):
    kind = state["Type"]
    scope.context["State"] = {"Name": name, "EnteredTime": now_iso(), "RetryCount": 0}
    scope.event(f"{kind}StateEntered", stateEnteredEventDetails={
        "name": name, "input": json.dumps(value), "inputDetails": {"truncated": False}})
    output, successor = _HANDLERS[kind](state, value, scope)
    scope.event(f"{kind}StateExited", stateExitedEventDetails={
        "name": name, "output": json.dumps(output), "outputDetails": {"truncated": False}})
    return output, successor


def _finish(holder, value, scope, result=None, error=None, default=None):
    """`Output` and `Assign`: both see the variables as they were, and the new values hold from the next state on."""
    output = scope.evaluate(holder["Output"], value, result, error) if "Output" in holder else default
    assigned = {name: scope.evaluate(template, value, result, error)
                for name, template in holder.get("Assign", {}).items()}
    scope.variables.update(assigned)
    return output


def _successor(state):
    return None if state.get("End") else state["Next"]


def _pass(state, value, scope):
    return _finish(state, value, scope, default=value), _successor(state)


def _succeed(state, value, scope):
    return _finish(state, value, scope, default=value), None


def _fail(state, value, scope):
    raise Failure(scope.field(state, "Error", "string", value, ""), scope.field(state, "Cause", "string", value, ""))


def _wait(state, value, scope):
    if "Seconds" in state:
        seconds = scope.field(state, "Seconds", "number", value)
        if seconds != int(seconds) or seconds < 0:
            raise Failure("States.QueryEvaluationError", f"Seconds must be a whole number from 0 but was: {seconds}")
    else:
        moment = sfn._parse_ts(scope.field(state, "Timestamp", "string", value))
        if moment is None:
            raise Failure("States.QueryEvaluationError", "Timestamp is not an ISO 8601 time with an offset")
        seconds = (moment - datetime.now(timezone.utc)).total_seconds()
    scope.stop.sleep(seconds)
    return _finish(state, value, scope, default=value), _successor(state)


def _choice(state, value, scope):
    for rule in state["Choices"]:
        if scope.field(rule, "Condition", "boolean", value):
            return _finish(rule, value, scope, default=value), rule["Next"]
    if "Default" not in state:
        raise Failure("States.NoChoiceMatched", "no choice matched and there is no Default")
    return _finish(state, value, scope, default=value), state["Default"]


def _with_retry_and_catch(state, value, scope, attempt):
    """Runs `attempt` until it works, its retriers are used up, or the scope is stopped."""
    used, entered = {}, scope.context["State"]
    while True:
        scope.context["State"] = {**entered, "RetryCount": sum(used.values())}
        try:
            result = attempt()
            return _finish(state, value, scope, result=result, default=result), _successor(state)
        except Failure as failure:
            index = _matching(state.get("Retry", []), failure.error)
            retrier = state["Retry"][index] if index is not None else None
            if retrier is None or used.get(index, 0) >= retrier.get("MaxAttempts", 3):
                return _caught(state, value, scope, failure)
            scope.stop.sleep(_delay(retrier, used.get(index, 0)))
            used[index] = used.get(index, 0) + 1


def _matching(handlers, error):
    for index, handler in enumerate(handlers):
        names = handler["ErrorEquals"]
        everything = "States.ALL" in names and error not in NOT_IN_ALL
        task = "States.TaskFailed" in names and error != "States.Timeout" and error not in NOT_IN_ALL
        if error in names or everything or task:
            return index
    return None


def _delay(retrier, used):
    """Seconds before the next attempt, after `used` earlier ones."""
    delay = retrier.get("IntervalSeconds", 1) * retrier.get("BackoffRate", 2.0) ** used
    delay = min(delay, retrier.get("MaxDelaySeconds", delay))
    return random.uniform(0, delay) if retrier.get("JitterStrategy") == "FULL" else delay


def _caught(state, value, scope, failure):
    index = _matching(state.get("Catch", []), failure.error)
    if index is None:
        raise failure
    error = {"Error": failure.error, "Cause": failure.cause}
    catcher = state["Catch"][index]
    return _finish(catcher, value, scope, error=error, default=error), catcher["Next"]


def _task(state, value, scope):
    return _with_retry_and_catch(state, value, scope, lambda: _attempt_task(state, value, scope))


def _attempt_task(state, value, scope):
    resource = state["Resource"]
    arguments = scope.evaluate(state["Arguments"], value) if "Arguments" in state else value
    seconds = scope.field(state, "TimeoutSeconds", "number", value)
    kind = {"resourceType": resource.split(":::")[-1].split(":")[0], "resource": resource.split(":", 6)[-1]}
    scope.event("TaskScheduled", taskScheduledEventDetails={
        **kind, "region": resource.split(":")[3] or sfn.get_region(), "parameters": json.dumps(arguments),
        **({"timeoutInSeconds": seconds} if seconds else {})})
    scope.event("TaskStarted", taskStartedEventDetails=kind)
    try:
        result = _plain(_call(resource, arguments, seconds, scope))
        _held_to_limit(result, scope.context["State"]["Name"])
    except Failure as failure:
        which = "TaskTimedOut" if failure.error == "States.Timeout" else "TaskFailed"
        details = {**kind, "error": failure.error, "cause": failure.cause}
        scope.event(which, **{which[0].lower() + which[1:] + "EventDetails": details})
        raise
    scope.event("TaskSucceeded", taskSucceededEventDetails={
        **kind, "output": json.dumps(result), "outputDetails": {"truncated": False}})
    return result


def _call(resource, arguments, seconds, scope):
    """Runs the integration in its own thread, until it answers, its time is up, or the scope is stopped."""
    stop, box = StopSignal(scope.stop), {}
    over = threading.Event()
    stop.call_when_set(over.set)

    def work():
        try:
            box["result"] = _integrate(resource, arguments, stop)
        except BaseException as error:
            box["error"] = error
        over.set()

    _start_thread(work)
    if not over.wait(seconds):
        stop.set()
        raise Failure("States.Timeout", "")
    scope.stop.check()
    if "error" in box:
        raise box["error"] if isinstance(box["error"], (Failure, Stopped)) else Failure(
            "States.Runtime", repr(box["error"]))
    return box["result"]


def _integrate(resource, arguments, stop):
    if resource == "arn:aws:states:::states:startExecution.sync:2":
        from runs import run_nested
        return run_nested(arguments, stop)
    if resource == "arn:aws:states:::states:startExecution":
        from runs import start_nested
        return start_nested(arguments)
    result = sfn._invoke_resource(resource, arguments)
    if resource == "arn:aws:states:::lambda:invoke":
        if lost_answers.is_lost(arguments):
            raise Failure("Lambda.Unknown", "the function's answer was lost")
        return {"ExecutedVersion": "$LATEST", **result}
    return result


def _start_thread(work):
    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True)
    thread.start()
    return thread


def run_all(jobs, limit, stop):
    """Runs the jobs, at most `limit` at a time; the first failure stops the others and is raised."""
    results, failures = [None] * len(jobs), []
    waiting, lock = list(enumerate(jobs)), threading.Lock()

    def work():
        while True:
            with lock:
                if not waiting or failures or stop.is_set():
                    return
                index, job = waiting.pop(0)
            try:
                results[index] = job()
            except Stopped:
                return
            except BaseException as error:
                with lock:
                    failures.append(error)
                stop.set()

    threads = [_start_thread(work) for _ in range(min(limit, len(jobs)))]
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    stop.check()
    return results


def _parallel(state, value, scope):
    return _with_retry_and_catch(state, value, scope, lambda: _attempt_parallel(state, value, scope))


def _attempt_parallel(state, value, scope):
    arguments = scope.evaluate(state["Arguments"], value) if "Arguments" in state else value
    scope.event("ParallelStateStarted")
    group = scope.inner()
    jobs = [lambda branch=branch: run_states(branch, arguments, group.inner()) for branch in state["Branches"]]
    try:
        results = run_all(jobs, len(jobs), group.stop)
    except Failure:
        scope.event("ParallelStateFailed")
        raise
    except Stopped:
        scope.stop.check()
        raise
    scope.event("ParallelStateSucceeded")
    return results


def _map(state, value, scope):
    return _with_retry_and_catch(state, value, scope, lambda: _attempt_map(state, value, scope))


def _attempt_map(state, value, scope):
    processor = state["ItemProcessor"]
    distributed = processor.get("ProcessorConfig", {}).get("Mode") == "DISTRIBUTED"
    items = _items(state, value, scope)
    scope.event("MapStateStarted", mapStateStartedEventDetails={"length": len(items)})
    limit = scope.field(state, "MaxConcurrency", "number", value, 0) or (
        DISTRIBUTED_LIMIT if distributed else INLINE_LIMIT)

    def item_input(index, item):
        seen = scope.inner(Map={"Item": {"Index": index, "Value": item}})
        return (seen.evaluate(state["ItemSelector"], value) if "ItemSelector" in state else item), seen

    try:
        if distributed:
            from runs import run_map
            results = run_map(state, [item_input(i, item)[0] for i, item in enumerate(items)], limit, scope)
        else:
            results = _inline(processor, items, item_input, limit, scope)
    except Failure:
        scope.event("MapStateFailed")
        raise
    scope.event("MapStateSucceeded")
    return results


def _inline(processor, items, item_input, limit, scope):
    group, name = scope.inner(), scope.context["State"]["Name"]

    def job(index, item):
        details = {"mapIterationStartedEventDetails": {"name": name, "index": index}}
        scope.event("MapIterationStarted", **details)
        selected, seen = item_input(index, item)
        seen.stop = StopSignal(group.stop)
        try:
            output = run_states(processor, selected, seen)
        except Failure:
            scope.event("MapIterationFailed", mapIterationFailedEventDetails={"name": name, "index": index})
            raise
        scope.event("MapIterationSucceeded", mapIterationSucceededEventDetails={"name": name, "index": index})
        return output

    return run_all([lambda i=i, x=x: job(i, x) for i, x in enumerate(items)], limit, group.stop)


def _items(state, value, scope):
    if "ItemReader" in state:
        reader = state["ItemReader"]
        at = scope.evaluate(reader["Arguments"], value)
        try:
            items = sfn._parse_reader_items(sfn._s3_object_text(at["Bucket"], at["Key"]), reader["ReaderConfig"])
        except ValueError as error:
            raise Failure("States.ItemReaderFailed", f"Attempting to read the object as JSON failed: {error}") from None
        if not isinstance(items, list):
            raise Failure("States.ItemReaderFailed", "Attempting to map over non-iterable node.")
        return items
    return scope.field(state, "Items", "array", value) if "Items" in state else value


_HANDLERS = {"Pass": _pass, "Succeed": _succeed, "Fail": _fail, "Wait": _wait, "Choice": _choice, "Task": _task,
             "Parallel": _parallel, "Map": _map}


def new_name():
    """A name for a child execution."""
    return new_uuid()
