"""The examples of docs/api.md run as they stand against a stack."""
import json
import re
import subprocess

import pytest

from tests.system.stack import PATIENCE_S, ROOT, TOKEN

# What the page's examples are told on purpose.
TOLD = {"NOT_DUE", "NOT_FINISHED", "SERVICE_NOT_SUPPORT"}


@pytest.fixture
def stack(make_stack):
    command = {"kind": "command", "command": ["python3", str(ROOT / "examples" / "word_count.py")]}
    return make_stack(services={"word_count": command, "checksum": None}, consumers=1)


def test_the_examples_of_the_api_page(stack):
    page = (ROOT / "docs" / "api.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", page, re.M | re.S)
    assert len(blocks) > 8, "the page has lost its examples"
    script = "set -eu -o pipefail\n" + "\n".join(blocks)
    done = subprocess.run(["bash", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=PATIENCE_S * 4, cwd=stack.dir, env={**stack.env(), "LONGHAUL_URL": stack.api.address, "AUTH_TOKEN": TOKEN})
    assert done.returncode == 0, done.stderr
    streamed = re.compile(r"^(?:(?:id|event|data|retry): .*|:.*)\n", re.M)  # the answer of watch
    assert "event: status\n" in done.stdout
    answers, decoder, rest = [], json.JSONDecoder(), streamed.sub("", done.stdout).strip()
    while rest:
        answer, end = decoder.raw_decode(rest)
        answers.append(answer)
        rest = rest[end:].strip()
    assert len(answers) >= len(blocks) - 1
    codes = {answer["code"] for answer in answers if answer["result"] != "ok"}
    assert codes <= TOLD, [answer for answer in answers if answer["result"] != "ok"]


def test_every_code_that_the_page_lists_is_one_word(stack):
    page = (ROOT / "docs" / "api.md").read_text()
    rows = re.findall(r"^\| (`.*?) \| [\d, +\w-]+ \|", page, re.M)
    codes = [code for row in rows for code in re.findall(r"`([A-Z_]+)`", row)]
    assert len(codes) == len(set(codes)) > 20
