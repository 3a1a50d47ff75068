"""Gives its condition back, digit for digit: floats and integers are kept as the text that they came as."""
import json
import os
import re
import sys

text = sys.stdin.buffer.read()
task = json.loads(text)["Task"]
# The condition's own bytes: decoding and encoding again could hide what a stage before changed.
start = re.search(rb'"condition"\s*:\s*', text).end()
raw = text[start:].rstrip()
end = json.JSONDecoder().raw_decode(raw.decode())[1]
os.write(3, b'{"result": ' + raw.decode()[:end].encode() + b"}\n")
