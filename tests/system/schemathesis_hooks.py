"""What schemathesis has to know of the service beyond /openapi.json (SCHEMATHESIS_HOOKS): which tasks and services there are, and which
refusals of a well-formed request the contract has. LONGHAUL_KNOWN: {"tasks": [...], "services": [...], "cursors": [...]} as JSON."""
import json
import os
import re
import zlib

import schemathesis
from schemathesis.specs.openapi import checks

KNOWN = json.loads(os.environ["LONGHAUL_KNOWN"])
LONGEST_WAIT_S = 0.02
# Arrays of these are answered item by item.
BY_ITEM = {"/api/create_task", "/api/update_status_task", "/api/log_task", "/api/heartbeat_task"}
# Refusals that depend on what stands, not on the form of the request.
BY_STATE = {"SERVICE_NOT_SUPPORT", "OFFSET_GAP", "USE_CURSOR", "TOO_MANY", "TASK_REMOVED", "RESULT_EXPIRED"}
# What JSON Schema cannot say: bytes, NUL, 64 bits, whole milliseconds, numbers that bound one another, and that a time exists.
UNSAID = re.compile(r"bytes|NUL|outside 64-bit|flows|more than 0 seconds|skipped must be an integer from 0 to|attempt must be an integer from 1 to"
                    r"|the header Idempotency-Key|Idempotency-Key is of one task|1 to \d+ names of services|must be a time such as|is given|must have names|is the answer's own|must stand (inside|beside) data")


def pick(of, name):
    """One of the known ones, the same for the same name."""
    return of[zlib.crc32(repr(name).encode()) % len(of)]


def make_known(node):
    """The generated names as ones that exist; no long wait; integers as such, not as reals without a fraction."""
    if isinstance(node, float) and node.is_integer():
        return int(node)
    if isinstance(node, list):
        return [make_known(item) for item in node]
    if not isinstance(node, dict):
        return node
    known = {key: make_known(value) if key not in ("condition", "result") else value for key, value in node.items()}
    for key, of in (("task_id", KNOWN["tasks"]), ("service", KNOWN["services"]), ("after", KNOWN["cursors"]), ("before", KNOWN["cursors"])):
        if isinstance(known.get(key), str):
            known[key] = pick(of, known[key])
    if "services" in known and "id" not in known:
        known["services"] = [pick(KNOWN["services"], known["services"])]
    if "wait_s" in known:
        known["wait_s"] = min(known["wait_s"], LONGEST_WAIT_S)
    return known


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta and case.meta.generation.mode.is_positive and isinstance(case.body, dict):
        case.body = make_known(case.body)


def items(body):
    return body.get("data", body.get("status"))


@schemathesis.check
def what_is_wrong_is_refused(ctx, response, case):
    """As negative_data_rejection; of an array at least one item must be refused."""
    data = case.body.get("data") if isinstance(case.body, dict) else None
    if case.operation.path not in BY_ITEM or not isinstance(data, list) or response.status_code != 200:
        return checks.negative_data_rejection(ctx, response, case)
    if case.meta and case.meta.generation.mode.is_negative:
        assert any("code" in item for item in items(response.json())), "no item was refused"


@schemathesis.check
def what_is_right_is_taken(ctx, response, case):
    """As positive_data_acceptance, but for refusals that the document cannot foretell."""
    if response.status_code in (400, 410):
        answer = response.json()
        if answer["code"] in BY_STATE or UNSAID.search(answer["message"]):
            return None
    return checks.positive_data_acceptance(ctx, response, case)
