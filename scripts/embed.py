#!/usr/bin/env python3
"""embed.py OUTPUT FILE...: writes the C source of dashboard_files[] with the bytes of the files, as they are and gzipped;
index.html is "/"."""
import gzip
import hashlib
import sys
from pathlib import Path

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


def array(name, data):
    rows = [",".join(map(str, data[at:at + 32])) for at in range(0, len(data), 32)]
    return f"static const unsigned char {name}[] = {{\n" + ",\n".join(rows) + "};\n"


def arrays(number, data):
    return array(f"file_{number}", data) + array(f"file_{number}_gz", gzip.compress(data, 9, mtime=0))


def entry(number, file, data):
    path = "/" if file.name == "index.html" else "/" + file.name
    tag = hashlib.sha256(data).hexdigest()[:32]
    plain, packed = f"file_{number}", f"file_{number}_gz"
    return (f'    {{"{path}", "{TYPES[file.suffix]}", "W/\\"{tag}\\"", {plain}, sizeof {plain}, {packed}, sizeof {packed}}},\n')


def main():
    output, *names = sys.argv[1:]
    files = [(number, Path(name)) for number, name in enumerate(names)]
    read = {number: file.read_bytes() for number, file in files}
    text = '#include "api/dashboard/dashboard_files.h"\n\n'
    text += "".join(arrays(number, read[number]) for number, _ in files)
    text += "\nconst struct dashboard_file dashboard_files[] = {\n"
    text += "".join(entry(number, file, read[number]) for number, file in files)
    text += "    {0},\n};\n"
    Path(output).write_text(text)


if __name__ == "__main__":
    main()
