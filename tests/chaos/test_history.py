"""What is left of lines whose processes were killed while they wrote."""
import json
import os

from tests.chaos.history import load
from tests.chaos.world import World
from tests.services.services import _start_time

START = {"k": "start", "t": 5, "task": "ts_quick_1", "run": "a", "pid": 7, "others": [[3, "main", "b"]]}


def test_a_line_behind_half_a_line_is_read(tmp_path):
    whole = json.dumps(START, separators=(",", ":"))
    (tmp_path / "runs.jsonl").write_text(f"{whole[:40]}{whole}\n{whole}\n{whole[:40]}\n{whole[:3]}")
    assert [event["k"] for event in load(tmp_path)] == ["torn", "torn", "start", "start"]
    assert load(tmp_path)[-1] == START


def test_a_process_that_lists_itself_just_now_is_no_obstacle(tmp_path):
    world, pid = World.__new__(World), os.getpid()
    world.dir, task = tmp_path, "ts_quick_1a"
    (tmp_path / "live" / "1a").mkdir(parents=True)
    (tmp_path / "live" / "1a" / task).write_text(f"{pid} {_start_time(pid)} main run-a\n{pid} 12 ma")
    assert world.live_pids(task) == [[pid, "main"]]
