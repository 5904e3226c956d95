"""What ministack's CloudFormation and Scheduler drop, put back.

- AWS::S3::Bucket: encryption, lifecycle and Object Lock were not applied.
- AWS::Scheduler::Schedule: time zone, start, end and key were not applied.
- AWS::SNS::Subscription over HTTP: was never asked to confirm, so nothing was ever delivered.
- AWS::KMS::ReplicaKey: was unknown.
- Scheduler: time zones were ignored; an `at()` that replaced a `cron()` never fired; swept every 10 s only.

Follows the structure of ministack's `services/cloudformation/provisioners.py` and `services/scheduler.py`,
Copyright (c) 2026 MiniStack Contributors, SPDX-License-Identifier: MIT.
"""

import asyncio
import json
import re
import threading
from datetime import datetime, timezone
from xml.etree.ElementTree import Element, SubElement, tostring
from zoneinfo import ZoneInfo

from ministack.core.responses import get_account_id, get_region, new_uuid, request_scope
from ministack.services import eventbridge, kms, s3, scheduler, sns
from ministack.services.cloudformation import provisioners

_TICK_SECONDS = 1
_original_sns_create, _original_s3_create = provisioners._sns_sub_create, provisioners._s3_create
_original_update, _original_invoke = scheduler._update_schedule, eventbridge._invoke_target


def _xml(name, value, root=None):
    """An element for a value: objects become children, lists repeat their element."""
    for item in value if isinstance(value, list) else [value]:
        element = Element(name) if root is None else SubElement(root, name)
        if isinstance(item, dict):
            for key, inner in item.items():
                _xml(key, inner, element)
        else:
            element.text = str(item).lower() if isinstance(item, bool) else str(item)
    return element


def _encryption(config):
    rules = [{"ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"],
              "BucketKeyEnabled": rule.get("BucketKeyEnabled", False)}
             for rule in config["ServerSideEncryptionConfiguration"]]
    return tostring(_xml("ServerSideEncryptionConfiguration", {"Rule": rules}))


def _lifecycle(config):
    return tostring(_xml("LifecycleConfiguration", {"Rule": [_lifecycle_rule(rule) for rule in config["Rules"]]}))


def _lifecycle_rule(rule):
    made = {"ID": rule.get("Id", ""), "Status": rule["Status"], "Filter": {"Prefix": rule.get("Prefix", "")}}
    for days, element, inner in (("ExpirationInDays", "Expiration", "Days"),):
        if days in rule:
            made[element] = {inner: rule[days]}
    for name in ("AbortIncompleteMultipartUpload", "NoncurrentVersionExpiration"):
        if name in rule:
            made[name] = rule[name]
    return made


def _s3_create(logical_id, props, stack_name):
    name, attributes = _original_s3_create(logical_id, props, stack_name)
    _apply_to_bucket(name, props)
    return name, attributes


def _apply_to_bucket(name, props):
    if props.get("ObjectLockEnabled"):
        s3._bucket_object_lock.setdefault(name, {"enabled": True, "default_retention": None})
        s3._bucket_versioning[name] = "Enabled"
    for prop, put, to_xml in (("BucketEncryption", s3._put_bucket_encryption, _encryption),
                              ("LifecycleConfiguration", s3._put_bucket_lifecycle, _lifecycle)):
        if prop in props:
            status, _, body = put(name, to_xml(props[prop]))
            if status >= 400:
                raise ValueError(f"AWS::S3::Bucket {prop} rejected: {body!r}")


def _s3_update(original):
    def update(physical_id, old_props, new_props, stack_name):
        name, attributes = original(physical_id, old_props, new_props, stack_name)
        _apply_to_bucket(name, new_props)
        return name, attributes
    return update


def _replica_create(logical_id, props, stack_name):
    arn, policy, region = props["PrimaryKeyArn"], props.get("KeyPolicy"), get_region()
    with request_scope(get_account_id(), arn.split(":")[3]):
        status, _, body = kms._replicate_key({
            "KeyId": arn, "ReplicaRegion": region, "Description": props.get("Description", ""),
            **({"Policy": policy if isinstance(policy, str) else json.dumps(policy)} if policy else {})})
    if status >= 400:
        raise ValueError(f"AWS::KMS::ReplicaKey {logical_id}: {body!r}")
    made = kms._resolve_key(arn.rsplit("/", 1)[1])
    return made["KeyId"], provisioners._kms_key_attrs(made)


def _replica_update(physical_id, old_props, new_props, stack_name):
    if new_props["PrimaryKeyArn"] != old_props["PrimaryKeyArn"]:
        return _replica_create(physical_id, new_props, stack_name)
    return physical_id, provisioners._kms_key_attrs(kms._resolve_key(physical_id))


def _sns_create(logical_id, props, stack_name):
    arn, attributes = _original_sns_create(logical_id, props, stack_name)
    topic = sns._topics.get(props.get("TopicArn", ""))
    made = next((one for one in (topic or {}).get("subscriptions", []) if one["arn"] == arn), None)
    if made and not made["confirmed"]:
        made["token"] = new_uuid()
        made["attributes"].update(SubscriptionArn=arn, TopicArn=topic["arn"], Protocol=made["protocol"],
                                  Endpoint=made["endpoint"], Owner=made["owner"], PendingConfirmation="true")
        threading.Thread(target=asyncio.run, args=(sns._send_subscription_confirmation(topic["arn"], made),),
                         daemon=True).start()
    return arn, attributes


def _schedule_create(logical_id, props, stack_name):
    name = props.get("Name") or provisioners._physical_name(stack_name, logical_id, max_len=64)
    status, _, body = scheduler._create_schedule(name, dict(props))
    if status >= 400:
        raise ValueError(f"AWS::Scheduler::Schedule {name}: {body!r}")
    return name, {"Arn": scheduler._schedule_arn(props.get("GroupName", "default"), name)}


def _schedule_update(physical_id, old_props, new_props, stack_name):
    if new_props.get("Name", physical_id) != physical_id:
        return _schedule_create(physical_id, new_props, stack_name)
    status, _, body = _update_schedule(physical_id, dict(new_props))
    if status >= 400:
        raise ValueError(f"AWS::Scheduler::Schedule {physical_id}: {body!r}")
    return physical_id, {"Arn": scheduler._schedule_arn(new_props.get("GroupName", "default"), physical_id)}


def _update_schedule(name, body):
    answer = _original_update(name, body)
    key = (get_account_id(), get_region(), f"{body.get('GroupName', 'default')}/{name}")
    scheduler._schedule_last_fired.pop(key, None)
    return answer


def _at_time(zone_of):
    def at(expression):
        found = re.match(r"^\s*at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)\s*$", expression)
        if not found:
            return None
        return datetime.fromisoformat(found[1]).replace(tzinfo=zone_of(expression)).timestamp()
    return at


def _zone_of(expression):
    """The time zone of the schedule that carries this expression; the sweep below has put it there."""
    return getattr(expression, "zone", timezone.utc)


class _Zoned(str):
    """A schedule expression that remembers its schedule's time zone."""


def _tick(original):
    def tick():
        for schedule in list(scheduler._schedules._data.values()):
            expression = _Zoned(schedule["ScheduleExpression"])
            expression.zone = ZoneInfo(schedule.get("ScheduleExpressionTimezone") or "UTC")
            schedule["ScheduleExpression"] = expression
        original()
    return tick


def _parse_cron(original):
    def parse(expression):
        fields = original(expression)
        return fields if fields is None or not hasattr(expression, "zone") else _Fields(fields, expression.zone)
    return parse


class _Fields:
    """Parsed cron fields with the time zone that they are meant in."""

    def __init__(self, fields, zone):
        self.fields, self.zone = fields, zone


def _cron_next(original):
    def next_fire(fields, after):
        if not isinstance(fields, _Fields):
            return original(fields, after)
        local = after.astimezone(fields.zone).replace(tzinfo=timezone.utc)
        found = original(fields.fields, local)
        return found and found.replace(tzinfo=fields.zone).astimezone(timezone.utc)
    return next_fire


def _invoke_target(target, event, rule, view=None):
    """Fills in the Scheduler's own words: the scheduled time, the execution id and the schedule's ARN."""
    if event.get("Source") == "aws.scheduler" and target.get("Input"):
        at = datetime.fromtimestamp(event["Time"], timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        words = {"scheduled-time": at, "execution-id": event["EventId"], "schedule-arn": rule["Arn"],
                 "attempt-number": "1"}
        text = target["Input"]
        for word, value in words.items():
            text = text.replace(f"<aws.scheduler.{word}>", value)
        target = {**target, "Input": text}
    return _original_invoke(target, event, rule, view)


def install():
    """Puts this module's functions in the place of ministack's."""
    handlers = provisioners._RESOURCE_HANDLERS
    handlers["AWS::S3::Bucket"].update(create=_s3_create, update=_s3_update(provisioners._s3_update))
    handlers["AWS::KMS::ReplicaKey"] = {
        "create": _replica_create, "update": _replica_update, "delete": provisioners._kms_key_delete}
    handlers["AWS::SNS::Subscription"]["create"] = _sns_create
    handlers["AWS::Scheduler::Schedule"].update(create=_schedule_create, update=_schedule_update)
    scheduler._SCHEDULE_TICK_INTERVAL = _TICK_SECONDS
    scheduler._update_schedule = _update_schedule
    scheduler._at_time_epoch = _at_time(_zone_of)
    scheduler._tick_schedules = _tick(scheduler._tick_schedules)
    eventbridge._parse_cron_fields = _parse_cron(eventbridge._parse_cron_fields)
    eventbridge._cron_next_fire = _cron_next(eventbridge._cron_next_fire)
    eventbridge._invoke_target = _invoke_target
