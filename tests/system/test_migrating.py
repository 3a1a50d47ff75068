"""The code of docs/migrating.md runs as it stands; what needs Celery is at least Python."""
import ast
import re
import subprocess
import sys

import pytest
import yaml

from tests.system.stack import PYTHON, ROOT, TOKEN, Program, wait_until

pytestmark = pytest.mark.heavy

PAGE = (ROOT / "docs" / "migrating.md").read_text()
BLOCK = re.compile(r"(?:<!-- (\w+)(?:: (\S+))? -->\n)?```(\w+)\n(.*?)^```", re.M | re.S)


def file_of(name):
    (found,) = [code for kind, file, _, code in BLOCK.findall(PAGE) if kind == "file" and file == name]
    return found


def put(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(file_of(name))


def test_all_python_of_the_page_is_python():
    blocks = [code for *_, language, code in BLOCK.findall(PAGE) if language == "python"]
    assert len(blocks) >= 7
    for code in blocks:
        ast.parse(code)


@pytest.fixture
def shop(make_stack, work_dir, tmp_path):
    """A stack whose consumer runs the page's worker by the page's configuration."""
    put(work_dir / "s1", "tasks.py", "worker.py")
    modules = yaml.safe_load(file_of("config.yaml"))["module"]
    modules["thumbnail"]["env"] = {"FAIL_ONCE": str(tmp_path / "once")}
    return make_stack(services=modules, consumers=1)


def test_the_function_of_a_celery_task_runs_as_a_warm_module(shop, tmp_path):
    good = shop.create("thumbnail", {"path": "a.png", "size": 200})
    bad = shop.create("thumbnail", {"path": "a.txt", "size": 200})
    late = shop.create("thumbnail", {"path": "late.png", "size": 1})
    assert shop.wait_final(good)["status"] == "finished" and shop.result(good)["data"] == {"path": "a-200.png"}
    got = shop.wait_final(bad)
    assert got["status"] == "failed" and got["attempt"] == 1
    assert got["error"] == {"class": "fatal", "text": "ValueError: a.txt is no picture"}
    got = shop.wait_final(late)
    assert got["status"] == "finished" and got["attempt"] == 2 and (tmp_path / "once").exists()
    log = shop.call("logs_task", {"data": {"task_id": good, "wait_s": 60}})
    assert log["text"] == "made a.png 200\n"


def test_the_calls(shop):
    done = subprocess.run([sys.executable, "-c", file_of("client.py")], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=120, env={**shop.env(), "LONGHAUL_URL": shop.api.address, "AUTH_TOKEN": TOKEN})
    assert done.returncode == 0 and done.stdout == "{'path': 'a-200.png'}\n", done.stdout


def test_the_program_that_was_a_loop(make_stack, work_dir):
    put(work_dir / "s1", "words.py")
    stack = make_stack(services={"words": {"command": [PYTHON, "./words.py"]}}, consumers=1)
    task_id = stack.create("words", {"text": "to be or not to be"})
    assert stack.wait_final(task_id)["status"] == "finished" and stack.result(task_id)["data"] == {"words": 6}


@pytest.mark.cluster
def test_the_loop_with_two_calls(make_stack, work_dir):
    put(work_dir / "s1", "loop.py")
    stack = make_stack(services=("words",), broker="kafka")
    loop = Program("loop", [sys.executable, str(stack.dir / "loop.py")], stack.dir / "loop.log",
                   {**stack.env(), "LONGHAUL_URL": stack.api.address, "TOPIC": stack.topic("words"), "GROUP": stack.group("words"),
                    "KAFKA": stack.kafka.bootstrap})
    try:
        good, bad = stack.create("words", {"text": "to be"}), stack.create("words", 5)
        assert stack.wait_final(good)["status"] == "finished" and stack.result(good)["data"] == {"words": 2}
        got = stack.wait_final(bad)
        assert got["status"] == "failed" and got["error"]["class"] == "fatal", loop.text()
        wait_until(lambda: stack.committed("words") == 2, "for the loop's commits")
    finally:
        loop.kill()
