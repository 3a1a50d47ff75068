"""The driver's own rules, without a stack."""
import asyncio
import itertools
import random
import time
from collections import Counter

import pytest

from tests.chaos import load as load_module
from tests.chaos.load import NO_LEASH, Known, Load, Patience


def test_tasks_that_come_and_go_are_waited_for_no_longer_than_others():
    """As a store would have them that answers sometimes from before, sometimes from after a change."""
    load = Load.__new__(Load)
    one, other = Known("one", "direct", 1), Known("other", "direct", 2)
    turns, told = itertools.cycle([{"one": one}, {"one": one, "other": other}]), []

    async def open_all():
        load.open = next(turns)

    async def pages():
        return {}

    load.open, load.final, load.doorkeepers, load.open_all, load.pages = {"one": one}, {}, [], open_all, pages
    load.history = type("History", (), {"add": lambda self, kind, **what: told.append((kind, what))})()
    asyncio.run(asyncio.wait_for(load.settle(0.5), 30))
    assert [kind for kind, _ in told] == ["settled"] and told[0][1]["open"]


def bare_load(**more):
    load = Load.__new__(Load)
    load.open, load.final, load.doorkeepers = {}, {}, []

    async def nothing():
        pass
    load.open_all = nothing
    for name, value in more.items():
        setattr(load, name, value)
    return load


def settled(load, patience_s):
    told = []
    load.history = type("History", (), {"add": lambda self, kind, **what: told.append((kind, what))})()
    asyncio.run(asyncio.wait_for(load.settle(patience_s), 30))
    return told


def test_what_comes_late_is_waited_for_too(monkeypatch):
    """A create and a start that nobody answered, of a process that stood still: they have their effect when all others are final."""
    monkeypatch.setattr(load_module, "CALM_S", 0.1)
    revived = Known("revived", "quick", 1)
    pages, seen = iter([{}, {"late": ("late", 2, "", "quick", "waiting"), "revived": ("revived", 1, "", "quick", "ready")}]), []
    load = bare_load(final={"revived": revived})

    async def next_pages():
        return next(pages, {name: (name, 1, "", "quick", "finished") for name in ("late", "revived")})

    async def open_all():
        if load.open:
            seen.append(set(load.open))
            load.final.update(load.open)
            load.open.clear()
    load.pages, load.open_all = next_pages, open_all
    assert settled(load, 20) == [("settled", {"open": []})]
    assert seen == [{"late", "revived"}] and load.final["revived"] is revived


def test_a_task_that_begins_new_attempts_is_waited_for_longer_but_not_for_ever():
    patience, task = Patience(10), Known("slow", "slow", 1)
    now = [1000.0]
    patience.fewer_at = patience.moved_at = now[0]

    def after(seconds, attempt):
        now[0] += seconds
        task.last = {"attempt": attempt}
        return patience.is_over({"slow": task}, now[0])
    assert not after(0, 1) and not after(9, 1) and not after(9, 2)
    assert not after(9, 3) and after(9, 4)


def test_attempts_that_come_and_go_are_no_progress():
    patience, task = Patience(10), Known("slow", "slow", 1)
    patience.fewer_at = patience.moved_at = 1000.0
    for at in range(10):
        task.last = {"attempt": 1 + at % 2}
        assert not patience.is_over({"slow": task}, 1000.0 + at)
    assert patience.is_over({"slow": task}, 1012.0)


def test_the_load_does_not_run_ahead_of_its_faults():
    load = bare_load(n_tasks=100, made=0, leash=20, stopping=False, moved_at=0, rng=random.Random(1), counts=Counter())

    async def create(self):
        load.made += 1
        await asyncio.sleep(0)

    async def play():
        load.moved_at = time.monotonic()
        creator = asyncio.ensure_future(load.creator())
        await asyncio.sleep(0.2)
        made = load.made
        load.leash = NO_LEASH
        await creator
        return made
    load.ACTIONS = ((create, 1),)
    assert asyncio.run(play()) == 20 and load.made == 100


def test_a_worker_of_the_driver_that_has_failed_ends_the_run_as_its_own_fault():
    async def fails():
        raise KeyError("a worker's")

    async def play():
        load.workers = [asyncio.ensure_future(fails())]
        await asyncio.sleep(0)
        await asyncio.wait_for(load.settle(20), 10)

    async def pages():
        return {}
    load = bare_load(open={"one": Known("one", "quick", 1)}, pages=pages)
    with pytest.raises(KeyError, match="a worker's"):
        asyncio.run(play())


def test_words_are_forged_where_another_run_has_the_task():
    def known(task_id, status):
        task = Known(task_id, "direct", 1)
        task.last = {"status": status}
        return task
    told = []

    async def call(route, body):
        data = body["data"]
        told.append((data[0] if isinstance(data, list) else data)["task_id"])
    load = bare_load(open={name: known(name, status) for name, status in (("runs", "running"), ("waits", "waiting"), ("other", "running"))},
                     ended_runs=[("gone", "a"), ("waits", "b"), ("runs", "c")], rng=random.Random(1), call=call)
    asyncio.run(load.forge_at_running())
    assert told == ["runs"]
