"""What a test says to the API in the place of a consumer: it claims, renews, reports, or is silent."""
import re
import uuid
from datetime import datetime, timezone

import pytest

from tests.system.stack import Stack, wait_until

NOWHERE = "ts_echo_00000000-0000-0000-0000-000000000000"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
STORES = ["sqlite", pytest.param("mongodb", marks=pytest.mark.cluster)]


def shared_stack(request, tmp_path_factory, services=("echo",), config=None, **more):
    """A stack that the tests of a file share on the store that request.param names; they leave each other alone by service and id."""
    mongo = request.getfixturevalue("mongo_server") if request.param == "mongodb" else None
    stack = Stack(tmp_path_factory.mktemp("shared"), store=request.param, mongo=mongo, services=services, config=config, **more)
    yield stack
    stack.close()
    if mongo:
        stack.collection().database.client.drop_database(stack.db)
        stack.mongo_client.close()


def new_run():
    return str(uuid.uuid4())


def ms(text):
    """Unix milliseconds of a time in an answer."""
    assert TIME.match(text), text
    at = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    return round(at.timestamp() * 1000)


def claim(stack, task_id, api=0, **more):
    """A new run that holds the task; the run and the answer."""
    run_id = new_run()
    got = stack.update(task_id, "running", run_id=run_id, api=api, **more)
    assert (got["status"], got["now"], got["run_id"]) == ("running", "running", run_id), got
    return run_id, got


def running(stack, service="echo", condition=None, **options):
    """A new task and the run that holds it."""
    task_id = stack.create(service, condition, **options)
    return task_id, claim(stack, task_id)[0]


def beat(stack, *runs, api=0, **more):
    """heartbeat_task for (task_id, run_id) pairs; the answers of the items."""
    data = [{"task_id": task_id, "run_id": run_id} for task_id, run_id in runs]
    items = stack.call("heartbeat_task", {"data": data, **more}, api=api)["data"]
    assert [item["task_id"] for item in items] == [task_id for task_id, _ in runs]
    return items


def renew(stack, task_id, run_id, api=0, cancel=False, progress=None):
    """A heartbeat that must be taken; its answer."""
    item = {"task_id": task_id, "run_id": run_id, **({} if progress is None else {"progress": progress})}
    (got,) = stack.call("heartbeat_task", {"data": [item]}, api=api)["data"]
    assert "code" not in got and got["cancel"] is cancel and TIME.match(got["lease_until"]), got
    return got


def stale(stack, task_id, run_id, code="STALE_RUN"):
    """A heartbeat that must be refused."""
    (item,) = beat(stack, (task_id, run_id))
    assert item["code"] == code and item.get("lease_until") is None, item
    return item


def fail(stack, task_id, run_id=None, http=200, code=None, api=0, text="broken", error_class="retryable", **more):
    error = {"class": error_class, "text": text} if error_class else {"text": text}
    run = {"run_id": run_id} if run_id else {}
    return stack.update(task_id, "failed", http, code, api=api, error=error, **run, **more)


def fail_attempt(stack, task_id, **more):
    """A whole attempt that fails; the status after it."""
    fail(stack, task_id, claim(stack, task_id)[0], **more)
    return stack.status(task_id)


def now_is(stack, task_id, status, sub_status, api=0):
    got = stack.status(task_id, api)
    assert (got["status"], got["sub_status"]) == (status, sub_status), got
    return got


def becomes(stack, task_id, status, sub_status, api=0):
    """Waits for it; the status. A final one that is another ends the wait."""
    def look():
        got = stack.status(task_id, api)
        if (got["status"], got["sub_status"]) == (status, sub_status):
            return got
        assert got["status"] not in ("finished", "failed"), got
        return None
    return wait_until(look, f"for {task_id} to be {status}/{sub_status}")


def refused(stack, route, body, names, **more):
    """The parameter is refused by name."""
    got = stack.call(route, body, 400, "INVALID_PARAMETER", **more)
    assert got["message"].startswith("Invalid parameter") and names in got["message"], got
    return got


def update_refused(stack, task_id, status, names, **more):
    return refused(stack, "update_status_task", {"data": {"task_id": task_id, "status": status, **more}}, names)
