"""history_task: what became of the services' tasks over time, step by step."""
from tests.system.runs import ms, refused, running
from tests.system.stack import wait_until

COUNTS = ("created", "claimed", "finished", "failed")
SERIES = COUNTS + ("waiting", "running", "oldest_s", "wait_p50_s", "wait_p95_s", "run_p50_s", "run_p95_s")


def history(stack, api=0, **asked):
    return stack.call("history_task", {"data": asked}, api=api)


def test_a_new_process_knows_nothing_of_the_past(make_stack):
    stack = make_stack(services=("echo", "other"))
    got = history(stack)
    assert list(got) == ["result", "step_s", "from", "services"]
    assert got["step_s"] == 10 and ms(got["from"]) % 10000 == 0
    assert list(got["services"]) == ["echo", "other"]
    for service in got["services"].values():
        assert tuple(service) == SERIES
        assert all(len(values) == 360 for values in service.values())
        assert all(value is None for values in service.values() for value in values[:350])
    day = history(stack, service="other", span_s=86400)
    assert day["step_s"] == 300 and list(day["services"]) == ["other"]
    assert {len(values) for values in day["services"]["other"].values()} == {288}
    assert {len(values) for values in history(stack, span_s=61)["services"]["echo"].values()} == {7}


def test_wrong_spans_and_services_are_refused_by_name(make_stack):
    stack = make_stack()
    for span in (9, 86401, 60.5, "60", None):
        refused(stack, "history_task", {"data": {"span_s": span}}, "span_s")
    refused(stack, "history_task", {"data": {"service": 1}}, "service")
    refused(stack, "history_task", {"data": {}, "span_s": 60}, "span_s")
    stack.call("history_task", {"service": "nobody"}, 400, "SERVICE_NOT_SUPPORT")
    stack.call("history_task", {}, 401, "UNAUTHORIZED", token="wrong")


def test_steps_tell_what_was_done_and_how_tasks_stand(make_stack, any_store):
    """Two retries: a failed attempt of which there is a further one is no failed task."""
    stack = make_stack(store=any_store, services=("echo", "other"))
    done, run = running(stack)
    stack.update(done, "finished", run_id=run)
    stack.update(done, "finished", run_id=run)  # said again: not counted again
    failed, run = running(stack)
    stack.update(failed, "failed", run_id=run)
    again, run = running(stack, max_attempts=2, retry={"base_s": 1000, "max_s": 1000})
    stack.update(again, "failed", run_id=run)
    running(stack)
    stack.create()
    held = stack.create("other", start=False)
    assert stack.status(held)["status"] == "ready"

    def look():
        services = history(stack)["services"]
        made = [sum(filter(None, services[name]["created"])) for name in ("echo", "other")]
        return services if made == [5, 1] and services["echo"]["waiting"][-1] is not None else None
    services = wait_until(look, "for the step to end and its standing to be known")
    echo, other = services["echo"], services["other"]
    assert {name: sum(filter(None, echo[name])) for name in COUNTS} == {"created": 5, "claimed": 4, "finished": 1, "failed": 1}
    assert (echo["waiting"][-1], echo["running"][-1]) == (2, 1)
    assert 0 <= echo["oldest_s"][-1] < 60
    for name in ("wait", "run"):
        halves, most = (list(filter(lambda value: value is not None, echo[f"{name}_{part}_s"])) for part in ("p50", "p95"))
        assert halves and all(0 <= half <= all_but <= 60 for half, all_but in zip(halves, most))
    assert sum(filter(None, other["created"])) == 1 and other["waiting"][-1] == 0 and other["oldest_s"][-1] is None
    assert set(other["wait_p50_s"]) == {None}
