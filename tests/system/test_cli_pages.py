"""What longhaul says of itself: help, manual pages, documentation and completions are of one table."""
import os
import re
import subprocess

import pytest

from tests.system.stack import BUILD, PATIENCE_S, ROOT
from tests.system.terminal import LONGHAUL, Cli, Screen, cli_of

pytestmark = pytest.mark.heavy
PAGES = BUILD / "cli" / "pages"
HELP_OPTION = re.compile(r"^  (?:-\w, )?--([a-z-]+)", re.M)


@pytest.fixture
def alone(tmp_path):
    return Cli(tmp_path, {"AUTH_TOKEN": "x", "LONGHAUL_URL": "http://127.0.0.1:1"})


@pytest.fixture
def verbs(alone):
    return re.findall(r"^  ([a-z]+) +[a-z]", alone.run("--help").partition("With every verb")[0], re.M)


def page(name):
    done = subprocess.run(["mandoc", "-T", "utf8", PAGES / name], capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    return re.sub(".\b", "", done.stdout)


def section(text, title):
    return re.search(rf"^{title}\n(.*?)(?=^\S|\Z)", text, re.M | re.S).group(1)


@pytest.mark.parametrize("name", ["longhaul.1", "longhaul-api.8", "longhaul-consumer.8", "longhaul-config.5"])
def test_the_pages_are_well_formed(name):
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", PAGES / name], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "", done.stdout
    title, number = name.split(".")
    assert page(name).split()[0] == f"{title.upper()}({number})"


def test_the_page_of_longhaul_says_what_help_says(alone, verbs):
    text = section(page("longhaul.1"), "VERBS")
    parts = dict(re.findall(r"^   ([a-z]+)\n(.*?)(?=^   \S|\Z)", text, re.M | re.S))
    assert list(parts) == verbs and len(verbs) >= 20
    common = section(page("longhaul.1"), "COMMON OPTIONS")
    optional = {"url", "token", "config", "patience"}  # not of verbs that need no API
    for verb, part in parts.items():
        shown = set(HELP_OPTION.findall(alone.run("help", verb)))
        there = set(re.findall(r"^       (?:-\w, )?--([a-z-]+)", part + common, re.M))
        assert shown - optional == there - optional and "help" in shown, verb


def test_the_exit_statuses_are_said_alike(alone):
    shown = dict(re.findall(r"^  (\d+) +(.*)$", alone.run("--help").partition("Exit status:")[2], re.M))
    listed = dict(re.findall(r"^\| (\d+) \| (.*?) \|", (ROOT / "docs" / "cli.md").read_text(), re.M))
    assert shown == listed and len(shown) > 10
    paged = re.sub(r"\s+", " ", section(page("longhaul.1"), "EXIT STATUS"))
    for status, meaning in shown.items():
        assert f" {status} {meaning}" in paged
    words = set(re.findall(r"[A-Z]+(?:_[A-Z]+)*", re.sub(r" API|Ctrl-C", "", " ".join(re.findall(r"\(([A-Z_, ]+)\)", paged)))))
    table = set(re.findall(r'\[RC_\w+\]\s*=\s*\{\s*"(\w+)"', (ROOT / "shared" / "base" / "rc.c").read_text())) - {"OK"}
    assert words == table


def test_the_documentation_names_every_verb(alone, verbs):
    listed = re.findall(r"^\| `(\w+)` \| (.*) \|$", (ROOT / "docs" / "cli.md").read_text(), re.M)
    assert [verb for verb, _ in listed] == verbs
    assert listed == re.findall(r"^  ([a-z]+) +([a-z].*)$", alone.run("--help").partition("With every verb")[0], re.M)


def test_the_readme_agrees(alone, verbs):
    text = (ROOT / "README.md").read_text()
    listed = re.findall(r"^\| ([\d, ]+) \|", text, re.M)
    shown = re.findall(r"^  (\d+) ", alone.run("--help").partition("Exit status:")[2], re.M)
    assert sorted(status for row in listed for status in row.split(", ")) == sorted(shown)
    used = re.findall(r"^(?:build/cli/)?longhaul (\w+)(.*)$", "".join(re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)), re.M)
    assert len(used) >= 6
    for verb, rest in used:
        assert verb in verbs
        known = alone.run("help", verb)
        assert all(option in known for option in re.findall(r"(?<= )--?[a-z][a-z-]*", rest)), (verb, rest)


def test_the_services_pages_say_what_help_says():
    for name in ("api", "consumer"):
        shown = subprocess.run([BUILD / name / f"longhaul-{name}", "--help"], capture_output=True, text=True, check=True).stdout
        assert HELP_OPTION.findall(shown) == re.findall(r"^       --([a-z-]+)", section(page(f"longhaul-{name}.8"), "OPTIONS"), re.M)
    keys = re.findall(r"^\| `([^`]+?)(?:\.<name>)?` \|", (ROOT / "docs" / "config.md").read_text(), re.M)
    paged = re.findall(r"^       (\S+)(?: +\S.*)?$", section(page("longhaul-config.5"), "KEYS"), re.M)
    assert set(keys) <= set(paged) and len(keys) > 40


# ---- completions


@pytest.fixture
def stack(make_stack):
    return make_stack(services=("echo", "other", "word-count"))


@pytest.fixture
def path(tmp_path):
    """A folder whose `longhaul` is ours, as if it were installed."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "longhaul").symlink_to(LONGHAUL)
    return f"{folder}:{os.environ['PATH']}"


def bash_offers(cli, path, line):
    words = line.replace("=", " = ").split(" ") if "=" in line else line.split(" ")
    script = f'source {PAGES}/longhaul; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _longhaul; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", script, "bash", *words], capture_output=True, text=True, env={**cli.merged(), "PATH": path}, cwd=cli.folder,
                          timeout=PATIENCE_S)
    assert done.stderr == "", done.stderr
    return done.stdout.split()


def test_bash_offers_what_fits(stack, tmp_path, path, verbs):
    cli = cli_of(tmp_path, stack)
    ids = [cli.create("echo"), cli.create("other")]
    (tmp_path / "a file.json").write_text("{}")
    assert bash_offers(cli, path, "longhaul ") == verbs
    assert bash_offers(cli, path, "longhaul can") == ["cancel"]
    assert bash_offers(cli, path, "longhaul --url http://x ca") == ["cancel"]
    assert bash_offers(cli, path, "longhaul create wo") == ["word-count"]
    assert bash_offers(cli, path, "longhaul create --max") == ["--max-attempts"]
    assert bash_offers(cli, path, "longhaul list --status f") == ["finished", "failed"]
    assert bash_offers(cli, path, "longhaul list --status=f") == ["finished", "failed"]
    assert bash_offers(cli, path, "longhaul list --service=ec") == ["echo"]
    assert bash_offers(cli, path, "longhaul tail --stream ") == ["stdout", "stderr"]
    assert bash_offers(cli, path, "longhaul create --priority ") == []
    assert sorted(bash_offers(cli, path, "longhaul status ")) == sorted(ids)
    assert bash_offers(cli, path, "longhaul cancel ts_ot") == ids[1:]
    assert bash_offers(cli, path, "longhaul help com") == ["completion"]
    assert bash_offers(cli, path, "longhaul completion z") == ["zsh"]
    assert bash_offers(cli, path, "longhaul create --file a") == ["a", "file.json"]


def test_bash_completes_what_is_typed(stack, tmp_path, path):
    cli = cli_of(tmp_path, stack)
    screen = Screen(["bash", "--norc", "-i"], tmp_path, {**cli.merged(), "PATH": path, "PS1": "ready> ", "INPUTRC": "/dev/null"})
    screen.wait("ready> ")
    screen.type(f"source {PAGES}/longhaul\n")
    screen.type("longhaul serv\t--js\t\n")
    screen.wait('"service":"word-count"')
    screen.type("longhaul pause wo\t\n")
    screen.wait("word-count\tpaused")
    screen.type("exit\n")
    screen.process.wait(PATIENCE_S)


def test_zsh_completes_what_is_typed(stack, tmp_path, path):
    cli = cli_of(tmp_path, stack)
    task_id = cli.create("other", "--no-start")
    env = {**cli.merged(), "PATH": path, "PS1": "ready> ", "ZDOTDIR": str(tmp_path)}
    (tmp_path / ".zshrc").write_text(f"fpath=({PAGES} $fpath)\nautoload -U compinit\ncompinit -u -D\nunsetopt beep prompt_sp\nPS1='ready> '\n")
    screen = Screen(["zsh", "-i"], tmp_path, env)
    screen.wait("ready> ")
    screen.type("longhaul serv\t--js\t\n")
    screen.wait('"service":"word-count"')
    screen.type("longhaul pause wo\t\n")
    screen.wait("word-count\tpaused")
    screen.forget()
    screen.type("longhaul start ts_ot\t\n")
    screen.wait(re.compile(rf"^{task_id}$", re.M))
    assert stack.status(task_id)["status"] == "waiting"
    screen.type("longhaul list --status fini\t--all\n")
    screen.wait("TASK_ID")
    screen.type("exit\n")
    screen.process.wait(PATIENCE_S)
