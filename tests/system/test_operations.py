"""docs/operations.md: backup and restore as they stand there, under load; its links lead somewhere."""
import os
import re
import subprocess
import threading

import pytest
import yaml

from tests.system.stack import PATIENCE_S, ROOT, module

PAGE = ROOT / "docs" / "operations.md"


def block(name):
    (found,) = re.findall(rf"<!-- test: {name} -->\n```sh\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    return found


def run_block(name, folder, systemctl):
    """The page's commands with its folders below the test's own; systemctl is the test's."""
    text = re.sub(r"/var/(lib|backups)/longhaul", rf"{folder}/\1", block(name)).replace("chown longhaul:longhaul", "true")
    for part in re.split(r"^(systemctl .*)\n", text, flags=re.M):
        if part.startswith("systemctl "):
            systemctl(part.split()[1])
        else:
            done = subprocess.run(["sh", "-eu", "-c", part], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            assert done.returncode == 0, done.stdout


class Load:
    """Creates tasks until it is told to stop; knows which were acknowledged."""

    def __init__(self, stack):
        self.stack, self.ids, self.over = stack, [], threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.over.is_set():
            self.ids += self.stack.create_many("script", [[["out", f"{number}\n"]] for number in range(20)])

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()


@pytest.mark.heavy
def test_a_backup_under_load_has_all_that_was_acknowledged_before(make_stack):
    stack = make_stack(services={"script": module("script", slots=4)}, config={"store": "sqlite:lib/longhaul.db", "max_status_task": 1000})
    api = stack.api
    with Load(stack) as load:
        while len(load.ids) < 500 and load.thread.is_alive():
            load.over.wait(0.01)
        acknowledged = list(load.ids)
        run_block("backup", stack.dir, None)
        while len(load.ids) < len(acknowledged) + 100 and load.thread.is_alive():
            load.over.wait(0.01)  # the load has not stood still
    assert os.stat(stack.dir / "backups" / "longhaul.db").st_mode & 0o077 == 0

    def systemctl(verb):
        # The host is lost, and with it what the log of the file still held.
        if verb == "stop":
            api.kill()
        else:
            api.restart()
    run_block("restore", stack.dir, systemctl)
    assert (stack.dir / "lib" / "broken" / "longhaul.db").is_file()

    for at in range(0, len(acknowledged), 500):
        known = stack.status_of(*acknowledged[at:at + 500])
        assert {item["status"] for item in known} == {"waiting"}
    # And it is a store like any other: some of them run.
    stack.start_consumer()
    for task_id in acknowledged[:20]:
        assert stack.wait_final(task_id)["status"] == "finished"
    again = stack.create("script", [["out", "1\n"]])
    assert stack.status(again)["status"] in ("waiting", "running", "finished")


def test_every_alert_has_its_link():
    rules = yaml.safe_load((ROOT / "contrib" / "prometheus" / "alerts.yml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    assert alerts == set(re.findall(r"^\[(\w+)\]\(metrics\.md#", PAGE.read_text(), re.M)) and len(alerts) > 5


def anchors(page):
    """The names of a page's headings, as the pages' own links and GitHub have them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")]), ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(file), f"{page.name}: {target}: {sorted(anchors(file))}"
