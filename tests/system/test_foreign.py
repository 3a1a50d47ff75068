"""Programs that know the base contract and nothing of ours: a module in Python, kcat, pymongo, a base configuration file, an
existing collection."""
import datetime
import json
import re
import shutil
import socket
import subprocess
import sys
import uuid

import pytest

from tests.services.services import SASL_PASSWORD, SASL_USER
from tests.system.stack import MODULES, PATIENCE_S, Api, Program, wait_until

pytestmark = pytest.mark.cluster

# The configuration that the base contract prints, with places for hosts, ports and credentials.
BASE_FILE = """\
# 当前配置环境 TEST: 测试； STAGE： 预发布；PRODUCTION： 发布
default_env: 'TEST'

# 支持的任务类型
service:
  - aaa
  - bbb

# 对应任务类型需要的数据源
source_db:
  aaa:
    # 数据源名称
    source_name: 'mongo'

    # 该数据源对应的消息队列topic的名称
    topic_name: 'mq_aaa'

    # topic对应的消费者id
    consumer_id: 'c_aaa'
  bbb:
    source_name: 'mysql'
    topic_name: 'mq_bbb'
    consumer_id: 'c_aaa'

# api任务状态查询最大数量
max_status_task: 10

#  消息队列配置
mq_conf:
# 阿里云AccessKey
  sasl_plain_username: '{user}'
# 阿里云SecretKey
  sasl_plain_password: '{password}'
# kafka 公网访问域名
  bootstrap_servers: ["{bootstrap}"]

# mongodb 数据库配置 , 数据库名称和登录账户在setting.py 中配置
# 测试环境
TEST:
  MONGO_HOST: '{mongo[host]}'
  MONGO_PORT: {mongo[port]}
  MONGO_USERNAME: '{mongo[username]}'
  MONGO_PASSWORD: '{mongo[password]}'
  MONGO_DBNAME: '{db}'

# 预发布
STAGE:
  MONGO_HOST: '39.106.2.119'
  MONGO_PORT: 27017
  MONGO_USERNAME: 'test1'
  MONGO_PASSWORD: 'test123'
  MONGO_DBNAME: 'prod_task'

# 发布
PRODUCTION:
  MONGO_HOST: '39.106.2.119'
  MONGO_PORT: 27017
  MONGO_USERNAME: 'test1'
  MONGO_PASSWORD: 'test123'
  MONGO_DBNAME: 'prod_task'
"""


def start_module(stack, service):
    """The foreign module as a process of its own."""
    command = [sys.executable, str(MODULES / "foreign.py"), stack.kafka.bootstrap, stack.topic(service), stack.group(service),
               stack.api.address, stack.env()["AUTH_TOKEN"]]
    module = Program("module", command, stack.dir / "module.log", stack.env())
    module.expect_exit = None
    stack.consumers.append(module)
    return module


@pytest.fixture
def stack(make_stack):
    return make_stack(store="mongodb", broker="kafka", services=("aaa", "bbb"), config={"sweep_s": 0.2})


def test_a_module_in_plain_python(stack):
    start_module(stack, "aaa")
    ids = [stack.create("aaa", {"numbers": [1, 2, number]}) for number in range(5)]
    bad = stack.create("aaa", {"fail": True})
    for number, task_id in enumerate(ids):
        status = stack.wait_final(task_id)
        assert (status["status"], status["message"]) == ("finished", f"source of aaa: {3 + number}")
        got = stack.result(task_id)
        assert got["data"] is None and got["start_time"] <= got["end_time"] and got["spend_time"] >= 0
    status = stack.wait_final(bad)
    assert (status["status"], status["message"]) == ("failed", "was told to")
    stack.call("start_task", {"task_id": ids[0]})
    wait_until(lambda: (lambda got: got["status"] == "finished" and got["attempt"] == 2)(stack.status(ids[0])), "for the second run")


@pytest.mark.skipif(not shutil.which("kcat"), reason="kcat is not installed")
def test_kcat_reads_the_messages(stack):
    task_id = stack.create("bbb", {"xx": "xx", "ü": [1.0, None]})
    stack.messages("bbb", 1)
    done = subprocess.run(["kcat", "-C", "-b", stack.kafka.bootstrap, "-t", stack.topic("bbb"), "-o", "beginning", "-e", "-q",
                           "-f", "%k\n%s\n"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE_S, check=True)
    key, value = done.stdout.decode("utf8").splitlines()
    assert key == task_id
    assert json.loads(value) == {"Task": {"task_id": task_id, "service": "bbb", "source_name": "source of bbb",
                                          "condition": {"xx": "xx", "ü": [1.0, None]}}}


def is_recent(when):
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    return isinstance(when, datetime.datetime) and abs(now - when) < datetime.timedelta(minutes=10)


def test_pymongo_reads_the_documents(stack):
    import bson
    fresh = stack.create("aaa", {"xx": "xx", "n": [1, 1.5, 2**40, True, None]})
    held = stack.create("aaa", "just text", start=False)
    ended = stack.create("bbb", [])
    stack.wait_status(fresh, "waiting")
    stack.wait_status(ended, "waiting")
    stack.update(ended, "running", message="began")
    stack.update(ended, "finished", message="done")
    documents = {document["task_id"]: document for document in stack.collection("dev_task").find()}
    assert set(documents) == {fresh, held, ended}
    for task_id, status in ((fresh, "waiting"), (held, "ready"), (ended, "finished")):
        document = documents[task_id]
        assert isinstance(document["_id"], bson.ObjectId) and document["status"] == status and "lh" in document
        assert is_recent(document["create_time"])
        assert set(document["status_message"]) == {"failed", "running", "finished"}
    document = documents[fresh]
    assert (document["service"], document["source_name"]) == ("aaa", "source of aaa")
    assert document["condition"] == {"xx": "xx", "n": [1, 1.5, 2**40, True, None]}
    assert document["start_time"] is None and document["end_time"] is None
    assert document["status_message"] == {"failed": None, "running": None, "finished": None}
    assert documents[held]["condition"] == "just text"
    document = documents[ended]
    assert is_recent(document["start_time"]) and is_recent(document["end_time"]) and document["start_time"] <= document["end_time"]
    assert document["status_message"] == {"failed": None, "running": "began", "finished": "done"}


def port_is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def test_a_base_configuration_file_starts_the_service(make_stack, mongo, kafka):
    if not port_is_free(8080):
        pytest.skip("port 8080, which the base file's default is, is taken on this machine")
    kafka.create_topic("mq_aaa")
    kafka.create_topic("mq_bbb")
    stack = make_stack(store="mongodb", broker="kafka", services=("aaa", "bbb"), apis=0, topics=False,
                       db=f"lh_{uuid.uuid4().hex[:8]}")
    text = BASE_FILE.format(user=SASL_USER, password=SASL_PASSWORD, bootstrap=kafka.sasl_bootstrap, mongo=mongo.parts, db=stack.db)
    stack.write_config = lambda file, **more: file.write_text(text)
    stack.topic, stack.group = "mq_{}".format, "c_{}".format
    stack.start_api()
    assert stack.api.address.endswith(":8080")
    assert stack.call("service_task", {}) == {"result": "ok", "count": 2, "data": ["aaa", "bbb"]}
    before = len(stack.messages("aaa"))
    task_id = stack.create("aaa", {"numbers": [1]})
    told = stack.messages("aaa", before + 1)[-1]
    assert json.loads(told.value) == {"Task": {"task_id": task_id, "service": "aaa", "source_name": "mongo", "condition": {"numbers": [1]}}}
    assert stack.collection("dev_task").count_documents({"task_id": task_id}) == 1
    stack.wait_status(task_id, "waiting")
    stack.update(task_id, "finished", message="m")


@pytest.mark.parametrize("env, collection", [("TEST", "dev_task"), ("STAGE", "prod_task"), ("PRODUCTION", "prod_task")])
def test_the_environment_names_the_collection(make_stack, env, collection):
    stack = make_stack(store="mongodb", services=("aaa",), apis=0)
    stack.more = {"default_env": env, env: stack.mongo_section()}
    stack.start_api()
    task_id = stack.create("aaa", 1)
    assert stack.collection(collection).count_documents({"task_id": task_id}) == 1


# ---- a collection that was there before


def base_document(number, status, **more):
    when = datetime.datetime(2020, 1, 1, 0, 0, number)
    late = status in ("running", "finished", "failed")
    return {"task_id": f"ts_aaa_{uuid.UUID(int=number)}", "status": status, "service": "aaa", "source_name": "mongo",
            "condition": {"number": number}, "create_time": when, "start_time": when if late else None,
            "end_time": when if status in ("finished", "failed") else None,
            "status_message": {"failed": None, "running": None, "finished": None}, **more}


@pytest.fixture
def old(make_stack):
    """A stack over a collection of older documents, and those by their status."""
    stack = make_stack(store="mongodb", services=("aaa", "bbb"), apis=0, config={"sweep_s": 0.05})
    documents = [base_document(number, status) for number, status in enumerate(("ready", "waiting", "running", "finished", "failed"), 1)]
    del documents[4]["status_message"]  # "false" in the base contract's table
    stack.collection("dev_task").insert_many(documents)
    stack.start_api()
    return stack, {document["status"]: document for document in stack.collection("dev_task").find()}


def test_old_documents_are_listed_and_read(old):
    stack, documents = old
    page = stack.call("tasks", {"service": "aaa", "p_size": 100})
    assert page["total"] == 5
    assert [row["status"] for row in page["data"]] == ["failed", "finished", "running", "waiting", "ready"]
    assert [row["condition"] for row in page["data"]] == [{"number": number} for number in (5, 4, 3, 2, 1)]
    assert page["data"][0]["create_time"] == "2020-01-01T00:00:05.000Z"
    for status, document in documents.items():
        assert stack.status(document["task_id"])["status"] == status
        assert stack.call("tasks", {"status": status})["total"] == 1
    got = stack.result(documents["finished"]["task_id"])
    assert got["data"] is None and got["start_time"] == "2020-01-01T00:00:04.000Z" and got["spend_time"] == 0
    stack.call("result_task", {"task_id": documents["failed"]["task_id"]}, 409, "TASK_FAILED")


def test_old_documents_are_not_swept(make_stack, mongo, kafka):
    stack = make_stack(store="mongodb", broker="kafka", services=("aaa",), apis=0, config={"sweep_s": 0.05},
                       mq={"librdkafka": {"message.timeout.ms": "1000"}})
    stack.collection("dev_task").insert_many([base_document(number, status) for number, status in enumerate(
        ("ready", "waiting", "running", "finished", "failed"), 1)])
    before = list(stack.collection("dev_task").find())
    stack.start_api()
    # A task that only the sweeper can tell has been told: the sweeper went over the collection meanwhile.
    kafka.halt()
    ours = stack.create("aaa", 1)
    stack.api.kill()
    kafka.restart()
    stack.api.restart()
    stack.wait_status(ours, "waiting")
    assert list(stack.collection("dev_task").find({"task_id": {"$ne": ours}})) == before
    assert {got.key.decode() for got in stack.messages("aaa", 1)} == {ours}  # twice, if the report was late


def test_old_documents_are_updated_and_adopted(old):
    stack, documents = old
    ids = {status: document["task_id"] for status, document in documents.items()}
    stack.update(ids["running"], "finished", message="at last")
    assert stack.status(ids["running"])["message"] == "at last"
    stack.call("start_task", {"task_id": ids["ready"]})
    stack.call("start_task", {"task_id": ids["finished"]})
    stack.call("update_task", {"task_id": ids["waiting"], "condition": {"number": 22}})
    for status in ("ready", "finished", "waiting"):
        assert stack.status(ids[status])["status"] == "waiting"
    run_id = str(uuid.uuid4())
    got = stack.update(ids["waiting"], "running", run_id=run_id)
    assert got["condition"] == {"number": 22} and got["source_name"] == "mongo"
    stack.update(ids["waiting"], "finished", run_id=run_id, result={"n": 1})
    assert stack.result(ids["waiting"])["data"] == {"n": 1}
    after = {document["task_id"]: document for document in stack.collection("dev_task").find()}
    for status in ("ready", "finished", "waiting"):
        document = after[ids[status]]
        assert document["_id"] == documents[status]["_id"] and "lh" in document
        assert document["create_time"] == documents[status]["create_time"]
    assert after[ids["failed"]] == documents["failed"]
    assert after[ids["running"]]["status_message"]["finished"] == "at last"


def test_an_old_waiting_document_is_claimed(old):
    stack, documents = old
    task_id = documents["waiting"]["task_id"]
    stack.update(task_id, "running", message="began")
    stack.update(task_id, "failed", message="no")
    document = stack.collection("dev_task").find_one({"task_id": task_id})
    assert document["status"] == "failed" and document["status_message"] == {"failed": "no", "running": "began", "finished": None}
    assert is_recent(document["start_time"]) and is_recent(document["end_time"])


def test_duplicate_task_ids_stop_the_start_and_one_is_named(make_stack):
    stack = make_stack(store="mongodb", services=("aaa",), apis=0)
    twice = base_document(1, "waiting")
    stack.collection("dev_task").insert_many([twice, {**base_document(2, "waiting"), "task_id": twice["task_id"]}, base_document(3, "failed")])
    api = stack.start_api(wait=False)
    api.expect_exit = 78
    assert api.wait() == 78
    assert twice["task_id"] in api.text() and re.search("dev_task", api.text())
    assert isinstance(api, Api)
