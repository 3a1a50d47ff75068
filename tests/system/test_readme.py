"""README.md as a new user follows it: scripts/run, a module, what goes wrong with it and how that is told."""
import json
import os
import re
import shutil
import subprocess

import pytest
import yaml

from tests.services.services import free_ports
from tests.system.stack import BUILD, PYTHON, ROOT, TOKEN, wait_until

pytestmark = pytest.mark.heavy

README = (ROOT / "README.md").read_text()


CHINESE = (ROOT / "README.zh.md").read_text()
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)


def section(title):
    return re.search(rf"^## {title}\n(.*?)(?=^## )", README, re.M | re.S).group(1)


def blocks(title):
    return dict(re.findall(r"^```(\w+)\n(.*?)^```", section(title), re.M | re.S))


def parts(text):
    """What the two languages have in common: the levels of headings, code, links, names in code's letters, rows of tables."""
    bare = BLOCK.sub("", text)
    return {"headings": [len(marks) for marks in re.findall(r"^(#+) ", bare, re.M)],
            "code": BLOCK.findall(text),
            "links": sorted(target for target in re.findall(r"\]\(([^)\s]+)\)", bare) if not target.startswith("README")),
            "names": sorted(set(re.findall(r"`([^`\n]+)`", bare))),
            "rows": len(re.findall(r"^\|", bare, re.M)), "points": len(re.findall(r"^- ", bare, re.M))}


def test_the_chinese_page_is_in_step():
    """Whoever changes README.md changes README.zh.md too."""
    english, chinese = parts(README), parts(CHINESE)
    for part in english:
        assert chinese[part] == english[part], f"{part} of README.zh.md"
    assert len(re.findall(r"[\u4e00-\u9fff]", CHINESE)) > 1000


def test_scripts_run_shows_a_task_and_ends(tmp_path):
    """What scripts/run does when all is installed and built."""
    config = tmp_path / "config.yaml"
    text = (ROOT / "config.yaml").read_text()
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{free_ports(1)[0]}")
    config.write_text(text)
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "build").symlink_to(BUILD)

    def run(config):
        return subprocess.run([PYTHON, "scripts/lib/run.py", "--demo", "--config", config], cwd=tmp_path, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    done = run(config)
    assert done.returncode == 0 and re.search(r'"words": ?\d+', done.stdout) and "finished" in done.stdout, done.stdout

    # Whatever else the configuration names can be run.
    for command in (module["command"] for module in yaml.safe_load(config.read_text())["module"].values()):
        assert all((tmp_path / word).exists() for word in command if "/" in word), command

    # One who has put services of his own in the place of the example's sees them named, not an error.
    other = tmp_path / "other.yaml"
    other.write_text(re.sub(r"word_count", "length", text))
    done = run(other)
    assert done.returncode == 0 and "It names: length" in done.stdout, done.stdout


@pytest.fixture
def length(make_stack, work_dir):
    """The README's module by the README's lines."""
    (work_dir / "s1").mkdir(parents=True)
    (work_dir / "s1" / "length.py").write_text(blocks("Write a module")["python"])
    services = yaml.safe_load(blocks("Write a module")["yaml"])
    modules = services["module"] | {"lost": {"command": ["python3", "length.py"]}, "typo": {"command": ["pyhton3", "./length.py"]}}
    assert services["service"] == ["length"]
    return make_stack(services=modules, consumers=1)


def test_the_module_of_the_readme(length):
    script = blocks("Write a module")["sh"].replace("build/cli/longhaul", str(BUILD / "cli" / "longhaul"))
    env = {**length.env(), "LONGHAUL_URL": length.api.address, "AUTH_TOKEN": TOKEN, "PATH": os.environ["PATH"]}

    def run(text):
        return subprocess.run(["sh", "-eu", "-c", text], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=120, env=env)
    done = run(script)
    result, failed_id, *_ = done.stdout.splitlines()
    assert done.returncode == 0 and json.loads(result) == {"length": 5}, done.stdout
    assert length.wait_final(failed_id)["status"] == "failed"
    assert failed_id in run(script.splitlines()[-1]).stdout

    # What the page says of the failure.
    longhaul = BUILD / "cli" / "longhaul"
    assert "exit status 1: KeyError: 'text'" in run(f"{longhaul} status {failed_id}").stdout
    assert "Traceback" in run(f"{longhaul} tail -f {failed_id}").stdout
    # Mended, and started again without a restart.
    file = length.dir / "length.py"
    file.write_text(file.read_text().replace('["text"]', '.get("text", "")'))
    assert run(f"{longhaul} start {failed_id}").returncode == 0
    wait_until(lambda: length.status(failed_id)["status"] == "finished", "for the second run")


def test_what_is_seen_when_a_module_is_wrong(length):
    seen = re.findall(r"^\| (.*?) \|", section("Write a module"), re.M)
    lost, typo = (length.wait_final(length.create(name, {"text": "x"}))["error"]["text"] for name in ("lost", "typo"))
    assert "can't open file" in lost and "length.py" in lost and typo == "command not found: pyhton3"
    assert any(typo in row for row in seen) and any("can't open file" in row for row in seen)
    (length.dir / "length.py").write_text('print("hello {")')
    task_id = length.create("length", {"text": "x"})
    assert length.wait_final(task_id)["status"] == "finished" and length.result(task_id)["data"] is None
    assert length.call("create_task", {"data": {"service": "nobody", "condition": 1}}, 400)["code"] in " ".join(seen)
