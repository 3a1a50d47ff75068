"""schemathesis, a foreign reader of /openapi.json, makes requests of its own from it, right ones and wrong ones, and finds nothing."""
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.system.stack import PATIENCE_S, ROOT, TOKEN, module

pytestmark = pytest.mark.heavy

# Ours stand in for these two: schemathesis_hooks.py.
REPLACED = "negative_data_rejection,positive_data_acceptance"


@pytest.fixture
def stack(make_stack):
    # word_count is that of the document's examples.
    return make_stack(services={"held": None, "word_count": None, "echo": module("echo")}, consumers=1, config={"max_status_task": 100})


def streams(document):
    """Routes whose answers do not end: schemathesis would wait for it."""
    return [path for path, methods in document["paths"].items()
            if any("text/event-stream" in operation["responses"]["200"]["content"] for operation in methods.values())]


def known(stack):
    tasks = [task_id for service in stack.modules for task_id in stack.create_many(service, range(40))]
    cursor = stack.call("tasks", {"p_size": 5})["next"]
    return {"tasks": tasks, "services": list(stack.modules), "cursors": [cursor]}


def schemathesis(stack, document, *args):
    file = Path(stack.dir) / "openapi.json"
    file.write_text(json.dumps(document))
    env = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.system.schemathesis_hooks", "LONGHAUL_KNOWN": json.dumps(known(stack)),
           "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(ROOT)}
    command = [ROOT / ".venv" / "bin" / "schemathesis", "--no-color", "run", file, "--url", stack.api.address,
               "-H", f"Authorization: {TOKEN}", "--checks", "all", "--exclude-checks", REPLACED, "--seed", "1", "--continue-on-failure",
               "--suppress-health-check", "all", "--request-timeout", str(PATIENCE_S), "--report-dir", stack.dir, *args,
               *(f"--exclude-path={path}" for path in streams(document))]
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=stack.dir, env=env)


def test_it_finds_nothing(stack):
    document = stack.request("GET", "/openapi.json").json
    done = schemathesis(stack, document, "--phases", "examples,coverage,fuzzing", "--max-examples", "25")
    assert done.returncode == 0, done.stdout[-20000:]
    assert int(re.search(r"(\d+) generated", done.stdout).group(1)) > 2000, done.stdout[-2000:]
    wanted = set(document["paths"]) - set(streams(document))
    assert int(re.search(r"Tested: (\d+)", done.stdout).group(1)) >= len(wanted), done.stdout[-2000:]
    assert stack.api.alive()


@pytest.mark.parametrize("where, lie, found", [
    ("answer", lambda operation: operation["responses"]["200"]["content"]["application/json"]["schema"]["required"].append("colour"),
     "Response violates schema"),
    ("limit", lambda operation: operation["requestBody"]["content"]["application/json"]["schema"]["properties"]["data"]["properties"]["span_s"]
     .update(maximum=100), "Schema-violating request accepted"),
    ("form", lambda operation: operation["requestBody"]["content"]["application/json"]["schema"]["properties"]["data"]["properties"]["span_s"]
     .update(minimum=1), "Schema-valid request rejected")])
def test_it_finds_a_lie(stack, where, lie, found):
    document = stack.request("GET", "/openapi.json").json
    lie(document["paths"]["/api/history_task"]["post"])
    done = schemathesis(stack, document, "--phases", "examples,coverage", "--include-operation-id", "history_task")
    assert done.returncode == 1 and found in done.stdout, done.stdout[-5000:]
