"""The checker on histories of the model (model.py): those of a service that is right are clean, and each of its faults is found."""
import random

import pytest

from tests.chaos.checker import check
from tests.chaos.model_load import history

PARTS, HISTORIES = 4, 75  # of each part, from the seeds 0, 1, 2 …; and one more, which a failure names
FRESH = random.randrange(1 << 32)

# A rule that the model leaves out -> the invariants that find it (7: services), and how many histories it may take at most.
FAULTS = {
    "lost create": ({1}, 50),
    "two tasks of a key": ({1}, 50),
    "final changes": ({2}, 100),
    "comes back": ({2}, 100),
    "removes what runs": ({2}, 50),
    "removes too early": ({2}, 100),
    "no fence": ({3}, 150),
    "one attempt": ({3}, 50),
    "attempts": ({4}, 150),
    "no delay": ({5}, 50),
    "not due": ({5}, 50),
    "never expires": ({1, 5}, 150),
    "no lease check": ({5}, 50),
    "claims of the paused": ({7}, 150),
    "more run": ({7}, 300),
    "more wait": ({7}, 300),
}


def red(seed, fault=None):
    return check(history(seed, fault)).violations


@pytest.mark.parametrize("part", range(PARTS))
def test_what_is_right_is_clean(part):
    for seed in (*range(part * HISTORIES, (part + 1) * HISTORIES), *([FRESH] if part == 0 else [])):
        assert [str(violation) for violation in red(seed)] == [], f"history({seed})"


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_found(fault):
    invariants, most = FAULTS[fault]
    assert any(violation.invariant in invariants for seed in range(most) for violation in red(seed, fault)), fault


def test_a_seed_gives_one_history():
    assert history(7) == history(7)
