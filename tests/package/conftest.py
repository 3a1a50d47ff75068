"""A clean Debian root, and the package built for it."""
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "package"


def run(*command, **more):
    done = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", **more)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout[-6000:]}"
    return done.stdout


def os_release(key):
    found = re.search(rf'^{key}="?([^"\n]*)"?$', Path("/etc/os-release").read_text(), re.M)
    return found.group(1) if found else ""


def sources(codename):
    """(address, suite, component) of this machine's own sources of Debian, the suite itself first."""
    rows = run("apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(CODENAME) $(COMPONENT)", "Created-By: Packages").split("\n")
    found = {tuple(row.split()[i] for i in (0, 2, 3)) for row in rows if len(row.split()) == 4}
    return sorted((row for row in found if row[1].split("-")[0] == codename and row[2] == "main"), key=lambda row: len(row[1]))


class Clean:
    """A Debian root of its own; what is run in it sees its own /proc."""

    def __init__(self, folder):
        self.folder = folder

    def command(self, *command, user=None):
        inside = ["chroot", *([f"--userspec={user}:{user}"] if user else []), str(self.folder), *map(str, command)]
        return ["unshare", "--mount", "sh", "-c", f'mount -t proc proc "{self.folder}/proc" && exec "$@"', "sh", *inside]

    def run(self, *command, user=None, **env):
        return run(*self.command(*command, user=user), env={**self.env(), **env})

    def fails(self, *command, user=None):
        done = subprocess.run(self.command(*command, user=user), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, env=self.env())
        assert done.returncode != 0, done.stdout
        return done.stdout

    def env(self):
        """As of a new machine, and how this one gets out."""
        proxies = {key: value for key, value in os.environ.items() if key.lower() in ("http_proxy", "https_proxy", "no_proxy")}
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", **proxies}

    def __truediv__(self, path):
        return self.folder / str(path).lstrip("/")


@pytest.fixture(scope="session")
def clean():
    codename = os_release("VERSION_CODENAME")
    if os.geteuid() != 0:
        pytest.skip("debootstrap and chroot need root")
    mirrors = sources(codename)
    if os_release("ID") != "debian" or not mirrors:
        pytest.skip("this machine's apt has no sources of Debian to make a clean root from")
    folder = WORK / "root"
    bootstrap(folder, codename, mirrors[0][0])
    # Of this machine only how it reaches the mirrors.
    lines = [f"deb {site} {suite} {component}" for site, suite, component in mirrors]
    (folder / "etc/apt/sources.list").write_text("\n".join(lines) + "\n")
    acquire = ['Acquire::Retries "3";'] + [line for line in run("apt-config", "dump").splitlines() if line.startswith("Acquire::") and "ByHash" not in line]
    (folder / "etc/apt/apt.conf.d/90acquire").write_text("\n".join(acquire) + "\n")
    for name in ("resolv.conf", "hosts"):
        shutil.copy(f"/etc/{name}", folder / "etc" / name)
    clean = Clean(folder)
    clean.run("apt-get", "update", "-q")
    yield clean
    remove(folder)


def bootstrap(folder, codename, site, tries=3):
    """A mirror may fail for a while; what is there by then is no base to go on from."""
    remove(folder)
    folder.mkdir(parents=True)
    try:
        run("debootstrap", "--variant=minbase", codename, folder, site)
    except AssertionError:
        if tries == 1:
            raise
        bootstrap(folder, codename, site, tries - 1)


def remove(folder):
    assert folder.is_relative_to(WORK)
    if folder.exists():
        assert not any(line.split()[4].startswith(f"{folder}/") for line in open("/proc/self/mountinfo")), "something is mounted there"
        run("rm", "-rf", "--one-file-system", folder)


@pytest.fixture(scope="session")
def package():
    """The package of the tree; LONGHAUL_PACKAGE names one that is built already."""
    if "LONGHAUL_PACKAGE" in os.environ:
        return Path(os.environ["LONGHAUL_PACKAGE"]).resolve()
    return Path(run(ROOT / "scripts/package").splitlines()[-1])
