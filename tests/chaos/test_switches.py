"""The switches and fault points are in the build of the chaos tests, and in no other."""
import os
from pathlib import Path

import pytest

from tests.chaos.run import MUTANTS, WINDOWS

ROOT = Path(__file__).resolve().parents[2]
CHAOS = Path(os.environ.get("LONGHAUL_BUILD", ROOT / "build-chaos"))
PLAIN = Path(os.environ.get("LONGHAUL_PLAIN_BUILD", ROOT / "build"))
NAMES = [*MUTANTS, *(point for points in WINDOWS.values() for point in points), "LONGHAUL_MUTANT", "LONGHAUL_FAULT_DIR", "mutant_is"]


def programs(build):
    """What is installed: programs and loadable modules."""
    found = [file for folder in ("api", "consumer", "cli", "shared") for file in (build / folder).rglob("longhaul*")
             if file.is_file() and not any(part.endswith(".p") for part in file.parts) and file.suffix in ("", ".so")]
    assert {"longhaul-api", "longhaul-consumer", "longhaul", "longhaul-store-mongo.so"} <= {file.name for file in found}
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_production_build_has_no_switch(name):
    assert [str(file) for file in programs(PLAIN) if name.encode() in file.read_bytes()] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_build_of_the_chaos_tests_has_every_switch(name):
    assert any(name.encode() in file.read_bytes() for file in programs(CHAOS))
