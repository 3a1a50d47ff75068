"""longhaul top on a real terminal: what it shows, its keys, and that the terminal is as it was after every end."""
import re
import signal

import pytest

from tests.system.stack import wait_until

LEAVE = b"\x1b[?1049l"


@pytest.fixture
def stack(make_stack):
    return make_stack(services=("echo", "other"), api_args=("--log-level=debug",))


def frames(screen):
    """All whole frames so far, each as lines."""
    screen.pump(0.05)
    parts = screen.raw.decode(errors="replace").split("\x1b[H")
    return [re.split(r"\r+\n", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", part.partition("\x1b[J")[0])) for part in parts[1:] if "\x1b[J" in part]


def frame(screen):
    """The last one, once there is one."""
    return next(reversed(frames(screen)), [])


def row_of(lines, name):
    return next((line.split() for line in lines if line.startswith(name)), None)


def row(screen, name):
    return row_of(frame(screen), name)


def test_services_and_running_tasks_live(cli, stack):
    task_id = cli.create("echo")
    screen = cli.screen("top", "--interval", "0.1", columns=160)
    assert wait_until(lambda: row(screen, "echo"))[1:6] == ["0", "1", "0", "0", "0"]
    assert frame(screen)[0].startswith(f"longhaul  {stack.api.address}  ")
    [run] = stack.take(worker={"id": "w1", "services": ["echo"]})
    stack.call("heartbeat_task", {"data": [{"task_id": task_id, "run_id": run["run_id"], "progress": {"done": 1, "total": 2}}]})
    wait_until(lambda: any(task_id in line and "[#####-----]  50 %" in line and "w1" in line for line in frame(screen)))
    stack.update(task_id, "finished", run_id=run["run_id"])
    wait_until(lambda: row(screen, "echo")[4] == "1" and not any(task_id in line for line in frame(screen)))
    wait_until(lambda: row(screen, "echo")[6] == "0.0")
    cli.run("pause", "other")
    wait_until(lambda: row(screen, "(paused) other"))
    screen.type("q")
    screen.end()
    assert screen.raw.endswith(LEAVE)


def test_rates_are_of_the_last_interval(cli, stack):
    ids = [cli.create("echo") for _ in range(3)]
    screen = cli.screen("top", "--interval", "0.3", columns=160)
    wait_until(lambda: row(screen, "echo") and row(screen, "echo")[6] == "0.0")
    for task_id in ids:
        stack.update(task_id, "finished")
    rates = lambda: [row_of(lines, "echo")[6] for lines in frames(screen) if row_of(lines, "echo")]
    wait_until(lambda: any(rate not in ("-", "0.0") and float(rate) > 0 for rate in rates()))  # for one interval
    wait_until(lambda: rates()[-1] == "0.0")
    screen.type("q")
    screen.end()


def test_eighty_columns_show_every_column_of_a_service(cli, stack):
    cli.run("pause", "other")
    screen = cli.screen("top", columns=80)
    wait_until(lambda: row(screen, "(paused) other"))
    assert next(line for line in frame(screen) if line.startswith("SERVICE")).rstrip().endswith("OLDEST CONS")
    screen.type("q")
    screen.end()


def test_eighty_columns_show_the_whole_id_of_a_running_task(cli, stack):
    task_id = cli.create("echo")
    stack.take()
    screen = cli.screen("top", columns=80)
    wait_until(lambda: any(line.rstrip().endswith(task_id) for line in frame(screen)))
    screen.type("q")
    screen.end()


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGHUP, 130), (signal.SIGQUIT, -signal.SIGQUIT)])
def test_every_signal_leaves_the_terminal_as_it_was(cli, number, status):
    screen = cli.screen("top")
    wait_until(lambda: row(screen, "echo"))
    screen.signal(number)
    screen.end(status)
    assert LEAVE in screen.raw


def test_the_window_may_change(cli, stack):
    screen = cli.screen("top", "--interval", "100", columns=100, rows=20)
    wait_until(lambda: row(screen, "echo"))
    screen.forget()
    screen.resize(30, 5)
    screen.signal(signal.SIGWINCH)
    wait_until(lambda: len(frame(screen)) == 5)  # one of the old size may have been on its way
    assert max(map(len, frame(screen))) == 30
    screen.forget()
    before = len(stack.api.find(path="/api/service_task"))
    screen.type(" ")
    wait_until(lambda: len(stack.api.find(path="/api/service_task")) > before and frame(screen))
    screen.type("q")
    screen.end()


def test_it_may_be_stopped_and_go_on(cli):
    screen = cli.screen("top", "--interval", "0.1")
    wait_until(lambda: row(screen, "echo"))
    screen.signal(signal.SIGTSTP)
    wait_until(lambda: "State:\tT" in open(f"/proc/{screen.process.pid}/status").read())
    screen.pump()
    assert screen.raw.endswith(LEAVE)
    screen.forget()
    screen.signal(signal.SIGCONT)
    wait_until(lambda: row(screen, "echo"))
    screen.type("q")
    screen.end()


def test_an_api_that_is_away_is_said_and_comes_back(cli, stack):
    screen = cli.screen("top", "--interval", "0.1", columns=160)
    wait_until(lambda: row(screen, "echo"))
    stack.api.stop()
    wait_until(lambda: any("Connection refused (IO)" in line for line in frame(screen)))
    assert row(screen, "echo")
    stack.api.restart()
    wait_until(lambda: not any("(IO)" in line for line in frame(screen)))
    screen.type("q")
    screen.end()


def test_once_for_pipes(cli, stack):
    cli.create("echo")
    rows = cli.rows("top", "--once")
    assert rows[0][:6] == ["echo", "0", "1", "0", "0", "0"] and rows[0][7:] == ["0", "runs"] and float(rows[0][6]) >= 0
    assert rows[1] == ["other", "0", "0", "0", "0", "0", "-", "0", "runs"]
    assert "give --once" in cli.run("top", status=64)
    assert "--interval: expected" in cli.run("top", "--once", "--interval", "0", status=64)
    assert "(UNAUTHORIZED)" in cli.run("top", "--once", "--token", "wrong", status=77)
    stack.api.stop()
    assert "Connection refused" in cli.run("top", "--once", status=74)
    screen = cli.screen("top", "--token", "x")
    assert "Connection refused" in screen.end(74)
