"""The API goes away while runs end: their reports are kept on disk and arrive later, whatever dies in between."""
import json

import pytest

from tests.system.stack import SANITIZED, module, wait_until


LEASE_S = 12 if SANITIZED else 5  # where it is to run out; a consumer comes back sooner


def spool_stack(make_stack, lease_s=60):
    return make_stack(services={"script": module("script", slots=3)}, consumers=1,
                      config={"lease_s": lease_s, "drain_s": 1, "max_status_task": 1000})


@pytest.fixture
def stack(make_stack):
    return spool_stack(make_stack)


def kept(stack):
    return list((stack.dir / "data" / "spool").glob("*/*.json"))


def starts(notes):
    return [line.split()[2] for line in notes.read_text().splitlines()] if notes.exists() else []


def run_into_outage(stack, tmp_path, n=3):
    """n tasks that run while the API is killed, and end afterwards."""
    notes, go = tmp_path / "notes", tmp_path / "go"
    ids = stack.create_many("script", [[["note", str(notes)], ["until", str(go)], ["out", f"{number}\n"]] for number in range(n)])
    wait_until(lambda: len(starts(notes)) == n, "for the runs")
    stack.api.kill()
    go.touch()
    wait_until(lambda: len(kept(stack)) == n, "for the reports on disk")
    return ids, notes


def check_arrived(stack, ids, notes):
    stack.wait_finished(ids)
    assert [stack.result(task_id)["data"] for task_id in ids] == list(range(len(ids)))
    assert {status["attempt"] for status in stack.status_of(*ids)} == {1}
    assert sorted(starts(notes)) == sorted(ids)
    wait_until(lambda: not kept(stack), "for the spool to be empty")


def test_reports_wait_on_disk_for_the_api(stack, tmp_path):
    ids, notes = run_into_outage(stack, tmp_path)
    stack.api.restart()
    check_arrived(stack, ids, notes)


def test_reports_survive_kill_9_of_the_consumer(stack, tmp_path):
    ids, notes = run_into_outage(stack, tmp_path)
    stack.consumer.kill()
    assert len(kept(stack)) == 3
    stack.api.restart()
    after = stack.start_consumer()
    check_arrived(stack, ids, notes)
    assert after.find(msg="kept reports taken over", count=3)


def test_a_consumer_that_lives_takes_over_from_one_that_died(stack, tmp_path):
    other = stack.start_consumer()
    ids, notes = run_into_outage(stack, tmp_path)
    stack.consumer.kill()
    wait_until(lambda: other.find(msg="kept reports taken over") or not kept_by_dead(stack, other), "for the takeover")
    stack.api.restart()
    check_arrived(stack, ids, notes)


def kept_by_dead(stack, living):
    return [file for file in kept(stack) if f"-{living.pid}-" not in file.parent.name]


def test_reports_survive_a_stop_of_the_consumer(stack, tmp_path):
    ids, notes = run_into_outage(stack, tmp_path)
    assert stack.consumer.stop() == 0  # after drain_s: what waits is on disk
    assert stack.consumer.find(msg="reports left on disk", count=3)
    stack.api.restart()
    stack.start_consumer()
    check_arrived(stack, ids, notes)


def test_a_report_whose_task_went_on_is_dropped(make_stack, tmp_path):
    stack = spool_stack(make_stack, LEASE_S)
    (task_id,), notes = run_into_outage(stack, tmp_path, 1)
    stack.consumer.kill()
    stack.api.restart()
    stack.wait_status(task_id, "waiting")  # the lease has lapsed
    (run,) = stack.take("script", lease_s=600)
    late = stack.start_consumer()
    late.wait_line(msg="report came too late", code="STALE_RUN")
    wait_until(lambda: not kept(stack), "for the spool to be empty")
    stack.update(task_id, "finished", run_id=run["run_id"], result="the second run's")
    assert stack.result(task_id)["data"] == "the second run's" and len(starts(notes)) == 1


def test_a_torn_file_is_set_aside(make_stack, tmp_path):
    stack = spool_stack(make_stack, LEASE_S)
    ids, notes = run_into_outage(stack, tmp_path)
    stack.consumer.kill()
    torn = kept(stack)[0]
    task_id = json.loads(torn.read_text())["data"]["task_id"]
    torn.write_bytes(torn.read_bytes()[:40])
    stack.api.restart()
    after = stack.start_consumer()
    after.wait_line(msg="kept report cannot be read and is set aside")
    stack.wait_finished(ids)  # the torn one's lease lapses, and it runs again
    assert len(list((stack.dir / "data" / "spool").glob("*.bad"))) == 1
    assert sorted(starts(notes)) == sorted([*ids, task_id])
