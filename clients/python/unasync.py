#!/usr/bin/env python3
"""Writes src/longhaul/client.py from src/longhaul/aio.py: the sync client is the async one without its words. --check: only tells."""
import re
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parent / "src" / "longhaul"
WORDS = [
    ("The async client.", "The sync client. Written by unasync.py from aio.py."),
    ("The Client for asyncio: the same methods, to be awaited; tasks(), logs() and watch() with `async for`.",
     "Calls the API. One client may be shared by threads; close it, or use it in a `with`."),
    (r"\basync def __a(enter|exit)__", r"def __\1__"),
    (r"\basync def\b", "def"),
    (r"\(await ([^()]*\([^()]*\[[^][]*\][^()]*\))\)", r"\1"),
    (r"\bawait ", ""),
    (r"\basync (with|for)\b", r"\1"),
    (r"\basyncio\b", "time"),
    (r"\bAsyncGenerator, AsyncIterator, Iterable,", "Generator, Iterable, Iterator,"),
    (r"\bAsyncIterator\b", "Iterator"),
    (r"\bAsyncGenerator\[Event, None\]", "Generator[Event, None, None]"),
    (r"\ba(iter_bytes|read)\b", r"\1"),
    (r"\bAsyncClient\b", "Client"),
    (r"\baclose\b", "close"),
]


def main():
    text = (SOURCE / "aio.py").read_text()
    for pattern, word in WORDS:
        text = re.sub(pattern if "\\" in pattern else re.escape(pattern), word, text)
    target = SOURCE / "client.py"
    if "--check" in sys.argv:
        sys.exit(0 if target.read_text() == text else "client.py is not what unasync.py writes")
    target.write_text(text)


if __name__ == "__main__":
    main()
