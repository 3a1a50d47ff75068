"""Fixtures: the servers once per session, a stack factory per test; the logs of a failed test stand in its report."""
import os
import re
from pathlib import Path

import pytest

from tests.services.services import Kafka, Mongo
from tests.system.certificates import Pki
from tests.system.stack import Stack
from tests.system.terminal import cli_of


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory):
    kafka = Kafka(tmp_path_factory.mktemp("kafka"))
    yield kafka
    kafka.stop()


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory):
    mongo = Mongo(tmp_path_factory.mktemp("mongo"))
    yield mongo
    if not mongo.external:
        mongo.stop()


@pytest.fixture
def kafka(kafka_server):
    """The session's Kafka, up and awake again after a test that stopped it."""
    yield kafka_server
    kafka_server.resume()
    if not kafka_server.alive():
        kafka_server.restart()
    kafka_server.wait_ready()  # a broker that stood still has to be let in again by its controller


@pytest.fixture
def mongo(mongo_server):
    yield mongo_server


@pytest.fixture
def own_kafka(tmp_path):
    """A broker that the test may stop."""
    kafka = Kafka(tmp_path / "kafka")
    yield kafka
    kafka.stop()


@pytest.fixture
def own_mongo(tmp_path):
    """A MongoDB server that the test may stop; its data is in a file. Tests name it before make_stack, so that it goes last."""
    mongo = Mongo(tmp_path / "mongo", backend="h2")
    if mongo.external:
        pytest.skip("LONGHAUL_TEST_MONGO_URI names a server that is not ours to stop")
    yield mongo
    mongo.stop()


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def work_dir(tmp_path, request):
    """Where a stack keeps its files: in the kept logs, if there are any."""
    logs = os.environ.get("LONGHAUL_LOGS")
    if not logs:
        return tmp_path
    folder = Path(logs) / re.sub(r"[^\w.-]+", "_", request.node.nodeid.rpartition("/")[2])
    number = 0
    while (folder / str(number)).exists():
        number += 1
    return folder / str(number)


@pytest.fixture
def cli(stack, tmp_path):
    """The command line beside the test's stack, in a folder of its own."""
    (tmp_path / "cli").mkdir()
    return cli_of(tmp_path / "cli", stack)


@pytest.fixture
def make_stack(request, work_dir):
    """make_stack(**options) -> Stack, closed and checked when the test ends."""
    stacks = request.node.stacks = []

    def make(**options):
        if options.get("store") == "mongodb" and options.get("mongo") is None:
            options["mongo"] = request.getfixturevalue("mongo")
        if options.get("broker") == "kafka" and options.get("kafka") is None:
            options["kafka"] = request.getfixturevalue("kafka")
        stack = Stack.__new__(Stack)
        stacks.append(stack)
        stack.__init__(work_dir / f"s{len(stacks)}", **options)
        return stack

    yield make
    problems = []
    for stack in stacks:
        try:
            if hasattr(stack, "apis"):
                stack.close()
        except AssertionError as error:
            problems.append(str(error))
        mongo = getattr(stack, "mongo", None)
        if mongo and (mongo.external or mongo.alive()):
            try:
                stack.collection().database.client.drop_database(stack.db)
                stack.mongo_client.close()
            except Exception:  # the test may have paused the server
                pass
    assert not problems, "\n".join(problems)


@pytest.fixture(params=["sqlite", pytest.param("mongodb", marks=pytest.mark.cluster)])
def any_store(request):
    """Every test that takes this runs on both stores."""
    return request.param


def stacks_of(item):
    """Those that the test has made, and those that it shares."""
    shared = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Stack)]
    return {id(stack): stack for stack in [*getattr(item, "stacks", []), *shared]}.values()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec and "sqlite" in callspec.params.values() and not item.get_closest_marker("cluster"):
            item.add_marker("sqlite")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        for stack in stacks_of(item):
            if hasattr(stack, "apis"):
                report.sections.append((f"logs in {stack.dir}", stack.logs()))
