"""Runs the ASL cases on the engine at AWS_ENDPOINT_URL: `run_cases.py [file or part of a claim]...`.

A case is a state machine, its input and what AWS documents as its end. Fails when a case fails, or when
features.json lists anything else than what the cases use (`--write` writes it anew).
"""

import concurrent.futures
import io
import json
import pathlib
import sys
import time
import uuid
import zipfile

import boto3

import features

HERE = pathlib.Path(__file__).resolve().parent
ROLE = "arn:aws:iam::000000000000:role/asl-cases"
RUN = uuid.uuid4().hex[:8]
BUCKET = f"asl-cases-{RUN}"
states, awslambda, s3 = boto3.client("stepfunctions"), boto3.client("lambda"), boto3.client("s3")
events, sqs = boto3.client("events"), boto3.client("sqs")
PATIENCE_SECONDS = 60


def prepare():
    """Creates what all cases share, and answers the values of the placeholders."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        entry = zipfile.ZipInfo("bootstrap")
        entry.external_attr = 0o755 << 16
        file.writestr(entry, (HERE / "probe" / "bootstrap").read_text())
    values = {"Bucket": BUCKET}
    for name, seconds in (("Probe", 60), ("Hasty", 2)):
        made = awslambda.create_function(
            FunctionName=f"{name}-{RUN}", Runtime="provided.al2023", Handler="bootstrap", Role=ROLE, Timeout=seconds,
            Code={"ZipFile": packed.getvalue()})
        values[name] = made["FunctionArn"]
    region = states.meta.region_name
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": region})
    queue = sqs.create_queue(QueueName=f"asl-cases-{RUN}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name=f"asl-cases-{RUN}", EventPattern=json.dumps(
        {"source": ["aws.states"], "detail": {"status": ["FAILED", "TIMED_OUT", "ABORTED"]}}))
    events.put_targets(Rule=f"asl-cases-{RUN}", Targets=[{"Id": "queue", "Arn": arn}])
    return values, queue


def filled(value, values):
    """JSON with its ${placeholders} replaced."""
    text = json.dumps(value)
    for name, to in values.items():
        text = text.replace("${" + name + "}", to)
    return json.loads(text)


def run(case, values):
    """Runs one case; answers what differs from what it expects, as sentences."""
    values = dict(values, Case=uuid.uuid4().hex)
    for key, body in case.get("objects", {}).items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(body))
    children = {}
    for name, definition in case.get("machines", {}).items():
        children[name] = create(f"{name}-{values['Case']}", filled(definition, values))
        values[f"machine:{name}"] = children[name]
    machine = create(f"case-{values['Case']}", filled(case["definition"], values))
    begun = time.monotonic()
    arn = states.start_execution(stateMachineArn=machine, name="one", input=json.dumps(case["input"]))["executionArn"]
    wrong = again(case, machine, arn, "once")
    if "stop_after_seconds" in case:
        time.sleep(case["stop_after_seconds"])
        states.stop_execution(executionArn=arn, error="Test.Stop", cause="asked to")
    execution = wait_for_end(arn)
    seconds = time.monotonic() - begun
    wrong += again(case, machine, arn, "end")
    values.update(ExecutionArn=arn, ExecutionName="one", MachineName=machine.rsplit(":", 1)[1])
    return wrong + compare(filled(case["expect"], values), execution, seconds, children)


def create(name, definition):
    made = states.create_state_machine(name=name, definition=json.dumps(definition), roleArn=ROLE)
    return made["stateMachineArn"]


def again(case, machine, arn, at):
    """A second start of the same name, when the case asks for one."""
    wanted = case.get("start_again")
    if not wanted or wanted["at"] != at:
        return []
    try:
        answer = states.start_execution(stateMachineArn=machine, name="one", input=json.dumps(wanted["input"]))
        got = "same" if answer["executionArn"] == arn else answer["executionArn"]
    except states.exceptions.ClientError as error:
        got = error.response["Error"]["Code"]
    return [] if got == wanted["answer"] else [f"second start: {got}, expected {wanted['answer']}"]


def wait_for_end(arn):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        execution = states.describe_execution(executionArn=arn)
        if execution["status"] != "RUNNING":
            return execution
        time.sleep(0.05)
    return execution


def compare(expect, execution, seconds, children):
    wrong = []

    def check(what, got, wanted):
        if got != wanted:
            wrong.append(f"{what}: {json.dumps(got)}, expected {json.dumps(wanted)}")

    check("status", execution["status"], expect["status"])
    if wrong:
        wrong.append(f"error {execution.get('error')}: {execution.get('cause')}")
    if "output" in expect:
        check("output", json.loads(execution.get("output") or "null"), expect["output"])
    if "error" in expect:
        check("error", execution.get("error"), expect["error"])
    if "cause" in expect:
        cause = execution.get("cause")
        check("cause", json.loads(cause) if isinstance(expect["cause"], dict) else cause, expect["cause"])
    if not expect.get("min_seconds", 0) <= seconds <= expect.get("max_seconds", PATIENCE_SECONDS):
        wrong.append(f"took {seconds:.1f} s")
    for name in expect.get("children_aborted", []):
        time.sleep(0.3)
        found = states.list_executions(stateMachineArn=children[name])["executions"]
        check(f"executions of {name}", [one["status"] for one in found], ["ABORTED"])
    if "map_children" in expect:
        check("children of the map", map_children(execution["executionArn"]), expect["map_children"])
    if expect.get("event"):
        check("status event", event_of(execution["executionArn"]), execution["status"])
    return wrong


def map_children(arn):
    time.sleep(0.3)
    run_arn = states.list_map_runs(executionArn=arn)["mapRuns"][0]["mapRunArn"]
    found = [one["status"] for one in states.list_executions(mapRunArn=run_arn)["executions"]]
    return {status: found.count(status) for status in set(found)}


ANNOUNCED = {}


def event_of(arn):
    """The status of the announced end of an execution, as EventBridge delivered it."""
    deadline = time.monotonic() + 10
    while arn not in ANNOUNCED and time.monotonic() < deadline:
        for message in sqs.receive_message(QueueUrl=QUEUE, MaxNumberOfMessages=10).get("Messages", []):
            detail = json.loads(message["Body"])["detail"]
            ANNOUNCED[detail["executionArn"]] = detail["status"]
            sqs.delete_message(QueueUrl=QUEUE, ReceiptHandle=message["ReceiptHandle"])
        time.sleep(0.1)
    return ANNOUNCED.get(arn)


def load(wanted):
    """Every case whose file or claim contains one of the wanted words."""
    found = []
    for path in sorted((HERE / "cases").glob("*.json")):
        for case in json.loads(path.read_text())["cases"]:
            if not wanted or any(word in path.stem or word in case["claim"] for word in wanted):
                found.append((path.stem, case))
    return found


def check_features(cases, write):
    """Compares features.json with what the cases use."""
    used = features.merged(features.used(definition) for _, case in cases
                           for definition in [case["definition"], *case.get("machines", {}).values()])
    if write:
        (HERE / "features.json").write_text(json.dumps(used, indent=2) + "\n")
    return [] if features.proven() == used else ["features.json is not what the cases use: run again with --write"]


def main():
    """Runs the wanted cases, eight at a time, and prints one line for each."""
    wanted = [word for word in sys.argv[1:] if not word.startswith("--")]
    cases, bad = load(wanted), []
    if not wanted:
        bad += check_features(cases, "--write" in sys.argv)
    if not cases:
        sys.exit("no such case")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        running = {pool.submit(run, case, VALUES): (name, case["claim"]) for name, case in cases}
        for done in concurrent.futures.as_completed(running):
            name, claim = running[done]
            wrong = [repr(done.exception())] if done.exception() else done.result()
            print(f"{'failed' if wrong else 'ok    '} {name}: {claim}", *wrong, sep="\n         ", flush=True)
            bad += [claim] if wrong else []
    print(f"{len(cases)} cases, {len(bad)} wrong")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    if "--write" in sys.argv:
        check_features(load([]), True)
    VALUES, QUEUE = prepare()
    main()
