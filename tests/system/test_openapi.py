"""/openapi.json: it is valid, it describes every route and code, and what is described is what is answered (tests/system/openapi.py
holds every answer that any test gets against it)."""
import json
import re
import subprocess
import sys

import jsonschema_rs
import openapi_spec_validator
import pytest

from tests.system.openapi import Document
from tests.system.stack import ROOT, TOKEN
from tests.system.watching import Watch

RC_ROW = re.compile(r'\[RC_\w+\] = \{"(\w+)", (\d+), \w+, (\d+)')
# Outcomes of programs and of the inside; no answer carries them.
NOT_ANSWERED = {"OK", "NO_MEMORY", "CONFIG", "LOCKED", "IO", "UNDELIVERABLE", "USAGE", "WARNING", "INTERRUPTED"}


@pytest.fixture
def stack(make_stack):
    return make_stack()


@pytest.fixture
def document(stack):
    answer = stack.request("GET", "/openapi.json", token=None)
    assert answer.status == 200 and answer.headers["Content-Type"] == "application/json"
    return Document(answer.json)


def operations(document):
    return [(path, method, operation) for path, methods in document.document["paths"].items() for method, operation in methods.items()]


def test_it_is_valid(document, stack):
    openapi_spec_validator.validate(document.document)
    assert document.document["info"]["version"] in subprocess.check_output([stack.api.command[0], "--version"], text=True)


def test_it_needs_no_token_and_takes_no_post(stack):
    assert stack.request("HEAD", "/openapi.json", token=None).status == 200
    assert stack.request("POST", "/openapi.json", b"{}").headers["Allow"] == "GET, HEAD"


def test_every_route_of_the_router_is_described(document):
    table = (ROOT / "api" / "routes.c").read_text()
    table = table[table.index("routes[] = {"):]
    table = table[:table.index("\n};")]
    described = set(document.document["paths"])
    for word in re.findall(r"CALL\((\w+)", table):
        assert f"/api/{word}" in described
    assert table.count("CALL(") + table.count("OPEN(") == len(described) > 20
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))


def test_each_operation_says_what_it_takes_and_gives(document):
    tags = {tag["name"] for tag in document.document["tags"]}
    for path, method, operation in operations(document):
        assert operation["summary"] and set(operation["tags"]) <= tags, path
        answers = {status: document.resolved(answer) for status, answer in operation["responses"].items()}
        assert "200" in answers and "503" in answers, path
        assert (method == "post") == ("requestBody" in operation), path
        assert ("401" in answers) == (path.startswith("/api/") or path == "/metrics") == (operation.get("security") != []), path
        for status, answer in answers.items():
            assert "X-Request-Id" in answer["headers"], (path, status)


def test_a_get_takes_what_the_post_takes(document, stack):
    """Each parameter of GET /api/watch, right and wrong; the document and the API agree."""
    methods = document.document["paths"]["/api/watch"]
    assert set(methods) == {"get", "post"}
    data = methods["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]["data"]
    query = {parameter["name"]: parameter for parameter in map(document.resolved, methods["get"]["parameters"]) if parameter["in"] == "query"}
    assert list(query) == list(data["properties"]) and not any(parameter["required"] for parameter in query.values())
    assert {"415", "411"}.isdisjoint(methods["get"]["responses"])
    cases = {"task_id": (["t1", "t2"], ["x" * 300]), "service": (["echo"], [""]), "tag": (["a=b", "c=d"], ["a"]),
             "types": (["status", "progress"], ["news"]), "tail_bytes": (5, 1 << 21), "last_event_id": ("x-1", "x" * 2049)}
    for name, parameter in query.items():
        for value, right in zip(cases[name], (True, False)):
            assert document.validator(parameter["schema"], closed=False).is_valid(value) == right, (name, value)
            with Watch(stack, **{name: value}) as watch:
                assert watch.status == (200 if right else 400), (name, value)
                if not right:
                    assert name in watch.answer["message"], watch.answer
                    document.check("GET", "/api/watch", 400, {"X-Request-Id": "x", "Content-Type": "application/json"}, json.dumps(watch.answer))


def test_its_examples_are_as_it_says(document):
    seen = 0
    for path, method, operation in operations(document):
        for holder, is_answer in ((operation.get("requestBody", {}), False), (operation["responses"]["200"], True)):
            for media in holder.get("content", {}).values():
                if "example" in media:
                    document.validator(media["schema"], closed=is_answer).validate(media["example"])
                    seen += 1
    assert seen >= 40
    for name, schema in document.document["components"]["schemas"].items():
        for example in schema.get("examples", []):
            document.validator({"$ref": f"#/components/schemas/{name}"}).validate(example)


def test_its_codes_are_those_of_the_table(document):
    rows = RC_ROW.findall((ROOT / "shared" / "base" / "rc.c").read_text())
    table = {word: (int(http), int(after)) for word, http, after in rows}
    codes = document.document["components"]["schemas"]["code"]["enum"]
    assert set(codes) == set(table) - NOT_ANSWERED
    for path, _, operation in operations(document):
        for status, answer in operation["responses"].items():
            if status == "200":
                continue
            answer = document.resolved(answer)
            named = answer["content"]["application/json"]["schema"]["allOf"][1]["properties"]["code"]["enum"]
            for code in named:
                assert table[code][0] == int(status) and code in answer["description"], (path, code)
            assert ("Retry-After" in answer["headers"]) == all(table[code][1] > 0 for code in named), (path, status)


def test_the_page_of_the_api_names_the_same_routes_and_codes(document):
    page = (ROOT / "docs" / "api.md").read_text()
    for path in document.document["paths"]:
        assert path.rpartition("/")[2] in page, path
    listed = {code for row in re.findall(r"^\| (`[A-Z].*?) \|", page, re.M) for code in re.findall(r"`([A-Z_]{4,})`", row)}
    assert set(document.document["components"]["schemas"]["code"]["enum"]) - {"BROKER_UNAVAILABLE"} <= listed


def test_an_answer_that_is_not_as_described_is_found(document):
    headers = {"X-Request-Id": "x", "Content-Type": "application/json"}
    wrong = [(200, b'{"result":"ok","task_id":"t","more":1}'), (200, b'{"result":"ok"}'), (200, b'{"result":"ok","task_id":5}'),
             (418, b"{}"), (409, b'{"result":"exception","message":"m","code":"STALE_RUN"}'), (200, b'{"result":"exception","task_id":"t"}')]
    document.check("POST", "/api/start_task", 200, headers, b'{"result":"ok","task_id":"t"}')
    document.check("POST", "/api/start_task", 409, headers, b'{"result":"exception","message":"m","code":"ALREADY_QUEUED"}')
    for status, body in wrong:
        with pytest.raises(AssertionError):
            document.check("POST", "/api/start_task", status, headers, body)
    with pytest.raises(AssertionError, match="X-Request-Id"):
        document.check("POST", "/api/start_task", 200, {**headers, "X-Request-Id": None}, b'{"result":"ok","task_id":"t"}')


@pytest.mark.parametrize("change, words", [
    ('"summary": "x", "tag": "tasks", "answer": {}, "codes": ["NO_SUCH"]', "no code NO_SUCH"),
    ('"summary": "x", "tag": "tasks", "codes": []', "missing keys ['answer']"),
    ('"summary": "x", "tag": "tasks", "answer": {"$ref": "#/components/schemas/none"}, "codes": []', "schemas/none does not exist"),
    ('"summary": "x", "tag": "tasks", "answer": {}, "codes": [], "colour": 1', "unknown keys ['colour']"),
    ('"summary": ', "x.json: ")])
def test_a_description_that_is_wrong_ends_the_build(work_dir, change, words):
    work_dir.mkdir(parents=True, exist_ok=True)
    (work_dir / "x.json").write_text("{" + change + "}")
    done = subprocess.run([sys.executable, ROOT / "scripts" / "openapi.py", "1", ROOT / "shared/base/rc.c", ROOT / "api/openapi/api.json",
                           work_dir / "x.json", work_dir / "x.c", work_dir / "x.h"], capture_output=True, text=True)
    assert done.returncode != 0 and words in done.stderr
    assert not (work_dir / "x.c").exists()
