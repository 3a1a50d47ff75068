"""Values survive: what goes in as condition comes back from the list, in the claim, as the module's result, in both stores and
through Kafka, equal in value and kind; and what is refused is refused by name.

The values are made by a generator of our own from a seed that a failure prints (LONGHAUL_SEED repeats it)."""
import json
import os
import random
import struct
import uuid

import pytest

from tests.system.stack import SANITIZED, module

COUNT = 60 if SANITIZED else 300


def no_twice(pairs):
    keys = [key for key, _ in pairs]
    assert len(keys) == len(set(keys)), f"a key twice in an answer: {keys}"
    return dict(pairs)


def same(a, b):
    """Equal in value and kind; a real also in its sign of zero, an object without regard to order."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    return a == b


def nested(depth, inner=0, kind="["):
    for level in range(depth):
        inner = {"k": inner} if kind == "{" or kind == "mixed" and level % 2 else [inner]
    return inner


CHOSEN = [
    None, True, False, 0, -0.0, 0.0, 1, 1.0, -1, 1.5, 2**31 - 1, 2**31, -2**31, -2**31 - 1, 2**53, 2**53 + 1, 2**63 - 1, -2**63, 0.1,
    1e15, 1e16, 1e17, 1e21, 1e22, 123456789012345680.0, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, -1e-7, 3.141592653589793,
    "", "x", "\0", "a\0b", "\x00\x00", "\x1f\x7f\x80", "ü", "日本語", "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\ud7ff\ue000",
    "\ufffd\ufffe\uffff\U0010ffff", "\u2028\u2029", "</script>", "\\\"/\b\f\n\r\t", "'; drop table task; --", "%s%n", "a" * 70000,
    [], {}, [[]], [{}], {"a": []}, [None, [None]], {"": ""}, {"": {"": {"": 0}}}, {"$": 1}, {"$date": 5}, {"$oid": "5f5f5f5f5f5f5f5f5f5f5f5f"},
    {"$numberLong": "1"}, {"$ref": "x", "$id": 1}, {"a.b": 1}, {"a": {"b": 1}, "a.b": 2}, {".": 1, "..": 2}, {"_id": 1}, {"$set": {"status": "x"}},
    {"0": "a", "1": "b"}, {"key with spaces": 1, "KEY": 2, "key": 3}, {"ü": "ü", "u\u0308": 1}, {"\n": 1, "\"": 2, "\\": 3}, {"a" * 5000: 1},
    {"z": 1, "a": 2, "m": 3}, {"__proto__": {}, "constructor": 1}, {"condition": {"condition": 1}}, {"Task": {"task_id": "x"}}, [1, 1.0, "1", True, None],
    [2**63 - 1, -2**63, 0.1 + 0.2], list(range(300)), {str(number): number for number in range(300)}, "null", "{}", {"lh": 1, "status": "finished"},
    nested(64), nested(64, kind="{"), nested(64, kind="mixed"), nested(63, {"x": 1.0}, "{"), nested(30, {"$a": {"b.c": 1.0}}, "mixed"),
]

CHARACTERS = ["\0", "\x01", "\t", "\n", "\"", "\\", "/", "$", ".", " ", "a", "Z", "0", "é", "ß", "\u0301", "漢", "\ud7ff", "\ue000", "\uffff",
              "\U00010000", "\U0001f600", "\U0010ffff", "\u2028"]


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def text(self, without=""):
        length = self.random.choice([0, 1, 2, 5, 20, 300])
        return "".join(char for char in (self.random.choice(CHARACTERS) if self.random.random() < .7 else chr(self.random.randrange(1, 0xd800))
                                         for _ in range(length)) if char not in without)

    def integer(self):
        bits = self.random.randrange(64)
        return self.random.choice([1, -1]) * self.random.getrandbits(bits) if bits else self.random.choice([2**63 - 1, -2**63, 0])

    def real(self):
        while True:
            value = struct.unpack("d", self.random.randbytes(8))[0] if self.random.random() < .5 else round(self.random.uniform(-1e6, 1e6), 3)
            if value == value and abs(value) != float("inf"):
                return value

    def value(self, depth=0):
        kinds = [self.integer, self.real, self.text, lambda: self.random.choice([None, True, False])]
        if depth < 6:
            kinds += [lambda: [self.value(depth + 1) for _ in range(self.random.randrange(5))],
                      lambda: {self.text(without="\0"): self.value(depth + 1) for _ in range(self.random.randrange(5))}] * 2
        return self.random.choice(kinds)()


def values():
    seed = int(os.environ.get("LONGHAUL_SEED", random.SystemRandom().getrandbits(32)))
    print(f"LONGHAUL_SEED={seed}")
    maker = Maker(seed)
    return CHOSEN + [maker.value() for _ in range(COUNT)]


WAYS = [pytest.param("sqlite", "none", id="sqlite"), pytest.param("mongodb", "none", id="mongodb", marks=pytest.mark.cluster),
        pytest.param("mongodb", "kafka", id="mongodb-kafka", marks=pytest.mark.cluster),
        pytest.param("sqlite", "kafka", id="sqlite-kafka", marks=pytest.mark.cluster)]


def strict(answer):
    return json.loads(answer.body, object_pairs_hook=no_twice)


@pytest.mark.parametrize("store, broker", WAYS)
def test_values_come_back_equal(make_stack, store, broker):
    stack = make_stack(store=store, broker=broker, services={"echo": module("echo", slots=4)}, consumers=1,
                       config={"max_status_task": 100})
    sent = values()
    ids = []
    for at in range(0, len(sent), 50):
        ids += stack.create_many("echo", sent[at:at + 50])
    listed = {}
    for page in range(1, len(sent) // 50 + 2):
        for row in strict(stack.post("tasks", {"p_size": 50, "page": page}))["data"]:
            listed[row["task_id"]] = row["condition"]
    for value, task_id in zip(sent, ids):
        assert same(listed[task_id], value), f"condition of {task_id}: sent {value!r}, listed {listed[task_id]!r}"
    stack.wait_finished(ids)
    for value, task_id in zip(sent, ids):
        got = strict(stack.post("result_task", {"data": {"task_id": task_id}}))["data"]
        assert same(got, value), f"result of {task_id}: sent {value!r}, came {got!r}"


def test_claims_updates_and_reports_keep_values(make_stack, any_store):
    stack = make_stack(store=any_store)
    sent = values()[::4]
    for value in sent:
        task_id, run_id = stack.create(condition={"old": 1}), str(uuid.uuid4())
        stack.call("update_task", {"task_id": task_id, "condition": value})
        answer = strict(stack.post("update_status_task", {"data": {"task_id": task_id, "status": "running", "run_id": run_id}}))
        assert same(answer["status"]["condition"], value), value
        stack.update(task_id, "finished", run_id=run_id, result=value)
        assert same(strict(stack.post("result_task", {"task_id": task_id}))["data"], value), value


def test_a_long_string_survives(make_stack, any_store):
    stack = make_stack(store=any_store, services={"echo": module("echo")}, consumers=1)
    for value in ("x" * 512 * 1024, {"ü": "ü" * 256 * 1024}, "\\" * 200000):
        task_id = stack.create(condition=value)
        assert stack.wait_final(task_id)["status"] == "finished"
        assert stack.result(task_id)["data"] == value


@pytest.mark.cluster
def test_a_reader_of_mongodb_sees_plain_values(make_stack):
    stack = make_stack(store="mongodb")
    value = {"text": "ü\U0001f600", "int": 5, "big": 2**40, "real": 1.0, "list": [1, "a", None, True], "deep": {"er": {"x": []}}}
    task_id = stack.create(condition=value)
    stack.update(task_id, "finished", result=value)
    document = stack.collection().find_one({"task_id": task_id})
    for name in ("condition", "result"):
        assert same(json.loads(json.dumps(document[name])), value), document[name]
    odd = stack.create(condition={"$date": 5})
    assert json.dumps(stack.collection().find_one({"task_id": odd})["condition"]), "a document, not a date"


def raw(condition):
    return b'{"data": {"service": "echo", "condition": ' + condition + b"}}"


REFUSED = [
    (b"9223372036854775808", "integer beyond 64 bits"), (b"-9223372036854775809", "integer below"), (b"1" * 40, "integer far beyond"),
    (b"[1, 18446744073709551616]", "inside"), (b"1e400", "overflow"), (b"-1e400", "overflow"), (b'{"a": [1e309]}', "overflow inside"),
    (b"1e-400", "underflow"), (b'{"a\\u0000b": 1}', "NUL in a key"), (b'{"a": 1, "a": 1}', "a key twice"), (b'{"a": {"b": 1, "c": 2, "\\u0062": 3}}', "twice, escaped"),
    (b"[" * 65 + b"0" + b"]" * 65, "nesting"), (b'{"a":' * 65 + b"0" + b"}" * 65, "nesting"), (b"[" * 5000 + b"]" * 5000, "nesting"),
]


@pytest.fixture(scope="module")
def refusing(tmp_path_factory):
    from tests.system.stack import Stack
    stack = Stack(tmp_path_factory.mktemp("refusing"))
    yield stack
    stack.close()


@pytest.mark.parametrize("condition, why", REFUSED)
def test_what_is_refused_is_refused_by_name(refusing, condition, why):
    got = refusing.call("create_task", raw(condition), 400, "INVALID_PARAMETER")
    assert got["message"].startswith("Invalid parameter: condition"), (why, got)
    task_id = refusing.create(condition="stays")
    got = refusing.call("update_task", b'{"task_id": "' + task_id.encode() + b'", "condition": ' + condition + b"}", 400, "INVALID_PARAMETER")
    assert got["message"].startswith("Invalid parameter: condition"), (why, got)
    assert refusing.call("tasks", {"p_size": 1})["data"][0]["condition"] == "stays"
    got = refusing.call("update_status_task", b'{"data": {"task_id": "' + task_id.encode() + b'", "status": "finished", "result": ' + condition + b"}}",
                        400, "INVALID_PARAMETER")
    assert got["message"].startswith("Invalid parameter: result"), (why, got)
    assert refusing.status(task_id)["status"] == "waiting"


@pytest.mark.parametrize("condition", [b"01", b"1.", b".5", b"+1", b"NaN", b"Infinity", b"nul", b"'x'", b'"\\x"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\n"',
                                       b"[1,]", b'{"a":1,}', b"{1:2}", b'"\xc3"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xc0\x80"', b"1 2", b""])
def test_what_is_no_json_is_refused(refusing, condition):
    before = refusing.call("tasks", {})["total"]
    got = refusing.call("create_task", raw(condition), 400, "INVALID_PARAMETER")
    assert got["message"].startswith("Invalid parameter"), got
    assert refusing.call("tasks", {})["total"] == before


def test_a_result_over_the_limit_is_refused(make_stack):
    stack = make_stack(config={"limits": {"result_kb": 8}})
    task_id = stack.create()
    answer = stack.post("update_status_task", {"data": {"task_id": task_id, "status": "finished", "result": "x" * 9000}})
    assert answer.status in (400, 413), answer
    assert stack.status(task_id)["status"] == "waiting"
    stack.update(task_id, "finished", result="x" * 8000)
