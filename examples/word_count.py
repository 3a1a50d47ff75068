"""Counts the words of a text. Condition: {"text": "..."} or {"path": "FILE"}, and "top" (10).

Result: {"words", "lines", "characters", "distinct", "top": [[word, times], ...]}. A relative path is looked up below
the folder that holds examples/. Python 3, standard library only.
"""
import collections
import json
import os
import re
import sys

WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRESS_LINES = 10000


class BadCondition(Exception):
    """Trying again would not help."""


def report(line):
    """Writes one line to the report descriptor."""
    os.write(int(os.environ.get("LONGHAUL_REPORT_FD", "1")), (json.dumps(line) + "\n").encode())


def lines_of(condition):
    """Yields (line, share of the input read so far)."""
    text, path = condition.get("text"), condition.get("path")
    if isinstance(text, str):
        lines = text.splitlines()
        for number, line in enumerate(lines, 1):
            yield line, number / len(lines)
    elif isinstance(path, str):
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            size = os.fstat(file.fileno()).st_size or 1
            read = 0
            for line in file:
                read += len(line.encode())
                yield line, read / size
    else:
        raise BadCondition('the condition needs "text" or "path"')


def count(condition):
    words = collections.Counter()
    lines = characters = 0
    for line, share in lines_of(condition):
        lines += 1
        characters += len(line.rstrip("\n"))
        words.update(word.lower() for word in WORD.findall(line))
        if lines % PROGRESS_LINES == 0:
            report({"progress": min(share, 1)})
    top = sorted(words.items(), key=lambda item: (-item[1], item[0]))[:condition.get("top", 10)]
    return {"words": sum(words.values()), "lines": lines, "characters": characters, "distinct": len(words), "top": top}


def main():
    condition = json.load(sys.stdin)["Task"]["condition"]
    try:
        if not isinstance(condition, dict):
            raise BadCondition("the condition must be an object")
        if type(condition.get("top", 10)) is not int or condition.get("top", 10) < 0:
            raise BadCondition('"top" must be a whole number from 0')
        report({"result": count(condition)})
    except (BadCondition, FileNotFoundError, UnicodeDecodeError) as why:
        report({"error": {"class": "fatal", "text": str(why)}})


main()
