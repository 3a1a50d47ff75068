"""The page's files over HTTP: what a browser and its caches are told, and where the files that are not ours come from."""
import base64
import gzip
import hashlib
import http.server
import io
import json
import os
import re
import subprocess
import tarfile
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "api/dashboard"


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    from tests.system.stack import Stack
    stack = Stack(tmp_path_factory.mktemp("dashboard"), services=("echo",))
    yield stack
    stack.close()


def get(stack, path, **headers):
    host, port = stack.api.host_port
    asked = urllib.request.Request(f"http://{host}:{port}{path}", headers={name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(asked) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.headers, answer.read()


def names():
    return sorted(file.name for file in FOLDER.iterdir() if file.suffix in (".js", ".css"))


def test_every_file_is_served_as_it_is_with_its_type_and_may_come_gzipped(stack):
    for name in names():
        status, headers, body = get(stack, "/" + name)
        assert status == 200 and body == (FOLDER / name).read_bytes(), name
        assert headers["Content-Type"] == ("text/css" if name.endswith(".css") else "text/javascript") + "; charset=utf-8"
        status, packed, body = get(stack, "/" + name, Accept_Encoding="br, gzip;q=0.5")
        assert (status, packed["Content-Encoding"], packed["ETag"]) == (200, "gzip", headers["ETag"])
        assert gzip.decompress(body) == (FOLDER / name).read_bytes(), name
    assert get(stack, "/")[2] == (FOLDER / "index.html").read_bytes()
    assert get(stack, "/nothing.js")[0] == 404


def test_what_the_page_names_is_there(stack):
    page = (FOLDER / "index.html").read_text()
    for path in re.findall(r'(?:href|src)="(/[^"]*)"', page):
        assert get(stack, path)[0] == 200, path
    for name in names():
        for module in re.findall(r'from "\./([^"]+)"', (FOLDER / name).read_text()):
            assert get(stack, "/" + module)[0] == 200, (name, module)


@pytest.mark.parametrize("accepted", ["identity", "gzip;q=0", "xgzip", "deflate, gzip ; q=0.0"])
def test_gzip_is_sent_to_nobody_who_does_not_take_it(stack, accepted):
    _, headers, body = get(stack, "/app.js", Accept_Encoding=accepted)
    assert headers["Content-Encoding"] is None and body == (FOLDER / "app.js").read_bytes()


def test_a_browser_that_has_a_file_is_told_so(stack):
    tag = get(stack, "/app.js")[1]["ETag"]
    assert tag != get(stack, "/style.css")[1]["ETag"]
    for known in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        status, headers, body = get(stack, "/app.js", If_None_Match=known)
        assert (status, headers["ETag"], body) == (304, tag, b""), known
    assert get(stack, "/app.js", If_None_Match='"other"')[0] == 200


def test_a_page_may_load_nothing_from_elsewhere_and_stands_in_no_frame(stack):
    _, headers, _ = get(stack, "/")
    policy = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'" and policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-cache" and headers["Vary"] == "Accept-Encoding"
    assert not re.search(r"<script>|<style>| style=| on\w+=", (FOLDER / "index.html").read_text())


def test_the_charts_are_the_pinned_ones_and_their_licence_stands_beside_them(stack):
    pins = json.loads((FOLDER / "vendor.json").read_text())
    for name, pin in pins.items():
        archive = ROOT / ".vendor" / f"{name}-{pin['version']}.tgz"
        assert pin["integrity"] == integrity(archive.read_bytes())
        with tarfile.open(archive) as opened:
            for member, served in pin["files"].items():
                assert get(stack, "/" + served)[2] == opened.extractfile(member).read()
    assert b"Permission is hereby granted" in get(stack, "/uplot-license.txt")[2]


# ---- scripts/vendor.py ----

def integrity(data):
    return "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()


def packed(text):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        info = tarfile.TarInfo("package/lib.js")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text))
    return file.getvalue()


ONE = packed(b"one")


class Registry:
    """Serves one archive as /thing/-/thing-1.0.0.tgz."""

    def __init__(self, data):
        registry = self
        self.data, self.asked = data, []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                registry.asked.append(self.path)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(registry.data)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def registry():
    registry = Registry(ONE)
    yield registry
    registry.close()


def vendor(tmp_path, url, data=ONE):
    pin = {"version": "1.0.0", "integrity": integrity(data), "files": {"package/lib.js": "lib.js"}}
    (tmp_path / "pins.json").write_text(json.dumps({"thing": pin}))
    env = {**os.environ, "VENDOR_PINS": str(tmp_path / "pins.json"), "VENDOR_CACHE": str(tmp_path / "cache"), "HOME": str(tmp_path), "no_proxy": "127.0.0.1"}
    env.pop("npm_config_registry", None)
    if url:
        env["npm_config_registry"] = url
    return subprocess.run([str(ROOT / "scripts/vendor.py"), str(tmp_path)], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)


def test_a_package_comes_from_the_registry_once_and_from_the_cache_then(tmp_path, registry):
    assert vendor(tmp_path, registry.url).returncode == 0
    assert (tmp_path / "lib.js").read_text() == "one" and registry.asked == ["/thing/-/thing-1.0.0.tgz"]
    assert vendor(tmp_path, "http://127.0.0.1:1").returncode == 0
    assert len(registry.asked) == 1


def test_the_registry_of_npmrc_is_asked(tmp_path, registry):
    (tmp_path / ".npmrc").write_text(f"fund=false\nregistry = {registry.url}/\n")
    assert vendor(tmp_path, None).returncode == 0 and len(registry.asked) == 1


def test_a_cache_that_is_spoilt_is_fetched_anew(tmp_path, registry):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/thing-1.0.0.tgz").write_bytes(b"broken")
    assert vendor(tmp_path, registry.url).returncode == 0
    assert (tmp_path / "lib.js").read_text() == "one"


def test_what_is_not_the_pinned_bytes_is_refused_and_not_kept(tmp_path, registry):
    registry.data = packed(b"two")
    done = vendor(tmp_path, registry.url)
    assert done.returncode == 1 and "is not what pins.json pins" in done.stderr and integrity(registry.data) in done.stderr
    assert not (tmp_path / "cache").exists() and not (tmp_path / "lib.js").exists()


def test_without_network_and_cache_it_says_what_to_do(tmp_path):
    done = vendor(tmp_path, "http://127.0.0.1:1")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert str(tmp_path / "cache/thing-1.0.0.tgz") in done.stderr and "npm_config_registry" in done.stderr
