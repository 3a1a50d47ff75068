#!/usr/bin/env python3
"""vendor.py [FOLDER]: what api/dashboard/vendor.json pins is in .vendor/, and, with FOLDER, its files are unpacked there.

A package comes from .vendor/, else from the npm registry: that of the environment variable npm_config_registry, of an npmrc of the
user or the machine, or registry.npmjs.org. What does not have the pinned sha512 is refused, wherever it comes from. VENDOR_PINS and VENDOR_CACHE name
another list and another folder."""
import base64
import hashlib
import json
import os
import re
import sys
import tarfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PINS = Path(os.environ.get("VENDOR_PINS") or ROOT / "api/dashboard/vendor.json")
CACHE = Path(os.environ.get("VENDOR_CACHE") or ROOT / ".vendor")
MAX_BYTES = 16 << 20
TIMEOUT_S = 60


def registry():
    named = os.environ.get("npm_config_registry")
    for npmrc in (Path.home() / ".npmrc", Path("/etc/npmrc"), Path("/usr/etc/npmrc")):
        if not named and npmrc.is_file():
            found = re.search(r"^\s*registry\s*=\s*(\S+)", npmrc.read_text(errors="replace"), re.M)
            named = found and found.group(1)
    return (named or "https://registry.npmjs.org").rstrip("/")


def read(url):
    """What the registry answers; it is asked again where it does not answer well."""
    for rest_s in (1, 5, None):
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
                return answer.read(MAX_BYTES)
        except OSError:
            if rest_s is None:
                raise
            time.sleep(rest_s)


def integrity(data):
    return "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()


def fetch(name, pin, archive):
    url = f"{registry()}/{name}/-/{name}-{pin['version']}.tgz"
    try:
        data = read(url)
    except (OSError, ValueError) as why:
        sys.exit(f"vendor: {name} {pin['version']} is not at {archive}, and {url} does not bring it: {why}\n"
                 f"vendor: either let npm_config_registry name an npm registry that answers, or put that file there by hand")
    if integrity(data) != pin["integrity"]:
        sys.exit(f"vendor: {url} is not what {PINS.name} pins: it has {integrity(data)}, wanted is {pin['integrity']}")
    archive.parent.mkdir(parents=True, exist_ok=True)
    part = archive.with_suffix(f".{os.getpid()}")
    part.write_bytes(data)
    part.replace(archive)


def have(archive, pin):
    return archive.is_file() and integrity(archive.read_bytes()) == pin["integrity"]


def unpack(archive, pin, folder):
    with tarfile.open(archive) as opened:
        for member, name in pin["files"].items():
            (folder / name).write_bytes(opened.extractfile(member).read())


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    for name, pin in json.loads(PINS.read_text()).items():
        archive = CACHE / f"{name}-{pin['version']}.tgz"
        if not have(archive, pin):
            fetch(name, pin, archive)
        if folder:
            unpack(archive, pin, folder)


if __name__ == "__main__":
    main()
