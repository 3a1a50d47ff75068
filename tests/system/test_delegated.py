"""A consumer in a cgroup that its service manager leaves to it, as systemd's Delegate=yes does: it makes room there for its runs' own."""
import os
import uuid
from pathlib import Path

import pytest

from tests.system.stack import BUILD, Program, kill_with_supervisor, module, wait_until

pytestmark = pytest.mark.heavy


@pytest.fixture
def delegated():
    """A cgroup with the attribute by which systemd tells that it is the service's."""
    with open("/proc/self/mountinfo") as mounts:
        points = [line.split()[4] for line in mounts if " - cgroup2 " in line]
    folder = Path(points[0] if points else "/nowhere") / f"longhaul-test-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir()
        os.setxattr(folder, "user.delegate", b"1")
    except OSError as error:
        pytest.skip(f"cgroups of version 2 cannot be made here: {error}")
    yield folder
    for below in (*folder.iterdir(), folder):
        if below.is_dir():
            wait_until(lambda: "populated 0" in (below / "cgroup.events").read_text(), f"for {below} to be empty")
            below.rmdir()


def start_in(stack, folder):
    """A consumer that is in this cgroup from its beginning."""
    name = f"consumer{len(stack.consumers)}"
    file = stack.dir / f"{name}.yaml"
    stack.write_config(file, api_url=stack.api.address)
    program = [str(BUILD / "consumer" / "longhaul-consumer"), "--config", str(file)]
    command = ["sh", "-c", f'echo $$ >{folder}/cgroup.procs && exec "$@"', "sh", *program]
    stack.consumers.append(Program(name, command, stack.dir / f"{name}.log", stack.env()))
    stack.consumers[-1].ready()
    return stack.consumers[-1]


def group_of(pid):
    with open(f"/proc/{pid}/cgroup") as lines:
        return next(line.strip()[3:] for line in lines if line.startswith("0::"))


def test_it_goes_below_and_its_runs_beside(delegated, make_stack, tmp_path):
    note, go = tmp_path / "note", tmp_path / "go"
    stack = make_stack(services={"script": module("script")})
    consumer = start_in(stack, delegated)
    assert group_of(consumer.pid).endswith(f"/{delegated.name}/longhaul-supervisor")
    task_id = stack.create("script", [["note", str(note)], ["until", str(go)], ["out", "1\n"]])
    pid = wait_until(lambda: note.exists() and note.read_text().split(), "for the run")[0]
    assert f"/{delegated.name}/longhaul-run-" in group_of(pid)
    # No process is left in the group itself, so it may give controllers to those below.
    assert (delegated / "cgroup.procs").read_text() == ""
    for controller in (delegated / "cgroup.controllers").read_text().split():
        (delegated / "cgroup.subtree_control").write_text(f"+{controller}")
    go.touch()
    assert stack.wait_final(task_id)["status"] == "finished"
    wait_until(lambda: [folder.name for folder in delegated.iterdir() if folder.is_dir()] == ["longhaul-supervisor"], "for the run's group to go")


def test_a_tree_of_its_own_is_killed_with_the_consumer(delegated, make_stack, tmp_path):
    note = tmp_path / "note"
    stack = make_stack(services={"script": module("script")})
    consumer = start_in(stack, delegated)
    stack.create("script", [["child", str(note)], ["until", str(tmp_path / "never")]])
    pid = wait_until(lambda: note.exists() and note.read_text().split(), "for the run's child")[0]
    consumer.kill()
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "for the child to die")


def test_the_next_consumer_ends_the_run_of_one_that_was_killed_with_its_supervisor(delegated, make_stack, tmp_path):
    """And no run that somebody looks after."""
    stack = make_stack(services={"script": module("script")})
    runs = []
    for name in "lost", "held":
        consumer, note = start_in(stack, delegated), tmp_path / name
        stack.create("script", [["child", str(note)], ["until", str(tmp_path / "go")], ["out", "1\n"]])
        pid = wait_until(lambda note=note: note.exists() and note.read_text().split(), "for the run's child")[0]
        runs.append((consumer, pid, delegated / group_of(pid).rpartition("/")[2]))
    (victim, lost, left), (_, held, kept) = runs
    kill_with_supervisor(victim)
    assert os.path.exists(f"/proc/{lost}") and left != kept
    line = start_in(stack, delegated).wait_line(msg="cgroups of runs cleared that were killed with their consumer")
    assert (line["count"], line["file"]) == (1, str(delegated))
    assert not left.exists()
    wait_until(lambda: not os.path.exists(f"/proc/{lost}"), "for the child to be reaped by the host")
    assert kept.exists() and os.path.exists(f"/proc/{held}")


def test_a_group_that_is_not_left_to_it_stays_as_it_is(delegated, make_stack):
    os.removexattr(delegated, "user.delegate")
    consumer = start_in(make_stack(services={"script": module("script")}), delegated)
    assert group_of(consumer.pid).endswith(f"/{delegated.name}")
