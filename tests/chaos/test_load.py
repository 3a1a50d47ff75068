"""The driver's own rules, without a stack."""
import asyncio
import itertools

from tests.chaos.load import Known, Load


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
