"""A module that stays (kind: warm): it loads its words once, then answers task after task.

Condition: {"word": "lihgt", "top": 3}. Result: {"known": false, "suggestions": ["light", ...]}. The words are those of
examples/data/lighthouse.txt, or of the file that WORDS names. Python 3, standard library only.
"""
import difflib
import json
import os
import re
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
reports = os.fdopen(int(os.environ["LONGHAUL_REPORT_FD"]), "w", buffering=1)


def load():
    with open(os.environ.get("WORDS", os.path.join(ROOT, "data", "lighthouse.txt")), encoding="utf-8") as file:
        return sorted({word.lower() for word in re.findall(r"[^\W\d_]+", file.read())})


def answer(words, condition):
    word, top = condition["word"].lower(), condition.get("top", 3)
    known = word in words
    return {"known": known, "suggestions": [] if known else difflib.get_close_matches(word, words, n=top)}


def main():
    words = load()
    for line in sys.stdin:  # until the consumer closes it
        task = json.loads(line)["Task"]
        try:
            said = {"result": answer(words, task["condition"])}
        except (KeyError, TypeError, AttributeError, ValueError) as why:
            said = {"error": {"class": "fatal", "text": f"the condition must be {{\"word\": TEXT, \"top\"?: N}}: {why!r}"}}
        reports.write(json.dumps({"task_id": task["task_id"], **said}) + "\n")


main()
