#!/usr/bin/env python3
"""embed.py OUTPUT FILE...: writes the C source of dashboard_files[] with the bytes of the files; index.html is "/"."""
import sys
from pathlib import Path

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


def array(number, data):
    rows = [", ".join(str(byte) for byte in data[at:at + 24]) for at in range(0, len(data), 24)]
    return f"static const unsigned char file_{number}[] = {{\n    " + ",\n    ".join(rows) + "};\n"


def entry(number, file):
    path = "/" if file.name == "index.html" else "/" + file.name
    return f'    {{"{path}", "{TYPES[file.suffix]}", file_{number}, sizeof file_{number}}},\n'


def main():
    output, *names = sys.argv[1:]
    files = [Path(name) for name in names]
    text = '#include "api/dashboard/dashboard_files.h"\n\n'
    text += "".join(array(number, file.read_bytes()) for number, file in enumerate(files))
    text += "\nconst struct dashboard_file dashboard_files[] = {\n"
    text += "".join(entry(number, file) for number, file in enumerate(files))
    text += "    {0},\n};\n"
    Path(output).write_text(text)


if __name__ == "__main__":
    main()
