"""The test suites behind scripts/test: what each needs, how it is run, how its tests are counted.

The slow builds (sanitizers, fuzzers) go on in the background at low priority while the first suites run.
Every count comes from the results that the test programs wrote: cmocka's XML and exit statuses, pytest's JUnit XML.
"""
import argparse
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from tests.services.services import SASL_PASSWORD, SASL_USER, Kafka, Mongo, ServiceError, install  # noqa: E402

LOGS = ROOT / "build" / "test-logs"
PYTHON = sys.executable
WORKERS = "3"  # the dialogues mostly wait; each worker has servers of its own
FUZZ_S = int(os.environ.get("LONGHAUL_FUZZ_S", "15"))
# Sanitizers need their fixed address ranges free, which some kernels' address randomisation does not leave.
FIXED = ["setarch", os.uname().machine, "-R"]
SUPPRESSIONS = ROOT / "tests" / "tsan.supp"
SANITIZER_ENV = {
    # What is freed is filled: libraries without a sanitizer of their own crash on it where they would read on unnoticed.
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:strict_string_checks=1:detect_stack_use_after_return=1"
                    ":max_free_fill_size=8192:free_fill_byte=165",
    "LSAN_OPTIONS": f"suppressions={ROOT / 'tests' / 'lsan.supp'}:print_suppressions=0",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": f"halt_on_error=1:second_deadlock_stack=1:suppressions={SUPPRESSIONS}",
}

running = set()  # leaders of process groups, to end when we are interrupted
running_lock = threading.Lock()
stopping = threading.Event()


class Failed(Exception):
    """A suite that could not be run at all."""


class Count:
    def __init__(self, passed=0, failed=0, skipped=0):
        self.passed, self.failed, self.skipped = passed, failed, skipped
        self.failures = []  # (name, text)
        self.skips = []  # reasons

    def fail(self, name, text):
        self.failed += 1
        self.failures.append((name, text))

    def skip(self, name, reason):
        self.skipped += 1
        self.skips.append(f"{name}: {reason}")

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.failures += other.failures
        self.skips += other.skips
        return self

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


# ---- running things -------------------------------------------------------------------------------------------


def begin(nice):
    """In the child: what starts us in the background may have SIGINT or SIGHUP ignored, and tests send them."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if nice:
        os.nice(10)


def run(command, log, env=None, nice=False):
    """Runs to the end in a process group of its own, output to a file; the exit status."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if stopping.is_set():
        return -1
    with open(log, "wb") as out:
        process = subprocess.Popen([str(part) for part in command], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}, start_new_session=True,
                                   preexec_fn=lambda: begin(nice))
        with running_lock:
            running.add(process)
        status = process.wait()  # an interrupt leaves it in `running` for end_running()
        with running_lock:
            running.discard(process)
        return status


def end_running():
    """Asks every group to end, waits for their leaders, kills what is left."""
    stopping.set()
    with running_lock:
        leaders = list(running)
    signal_groups(leaders, signal.SIGTERM)
    end = time.monotonic() + 10
    while time.monotonic() < end and any(leader.poll() is None for leader in leaders):
        time.sleep(0.1)
    signal_groups(leaders, signal.SIGKILL)


def signal_groups(leaders, number):
    for leader in leaders:
        try:
            os.killpg(leader.pid, number)
        except ProcessLookupError:
            pass


def text_of(log):
    """Of a run that was interrupted before it began there is none."""
    try:
        return log.read_text(errors="replace")
    except OSError:
        return ""


def tail(log, lines=60):
    return "\n".join(text_of(log).splitlines()[-lines:])


class Build:
    """One build folder, made once, maybe in the background."""

    def __init__(self, folder, *options, env=None, fixed=False):
        self.folder, self.options, self.env = folder, options, dict(env or {})
        if fixed:
            self.env["LONGHAUL_RUN_BEFORE"] = " ".join(FIXED)
        self.lock = threading.Lock()
        self.error = None
        self.done = False

    def make(self, nice=False):
        with self.lock:
            if self.done:
                return
            log = LOGS / f"{self.folder}.log"
            options = self.options if not (ROOT / self.folder / "build.ninja").exists() else ()
            if run(["scripts/build", self.folder, *options], log, self.env, nice) != 0:
                self.error = f"the build of {self.folder} failed:\n{tail(log)}"
            self.done = True

    def need(self):
        self.make()
        if self.error:
            error, self.error = self.error, f"the build of {self.folder} failed, see above"
            raise Failed(error)
        return self.folder


BUILDS = {
    "plain": Build("build", "-Dwerror=true"),
    "asan": Build("build-asan", "-Db_sanitize=address,undefined", "-Db_lundef=false", fixed=True),
    "tsan": Build("build-tsan", "-Db_sanitize=thread", "-Db_lundef=false", fixed=True),
    "chaos": Build("build-chaos", "-Dmutants=true", "-Dwerror=true"),
    "fuzz": Build("build-fuzz", "-Dfuzzers=true", "-Dtests=true", "-Db_sanitize=address,undefined",
                  "-Db_lundef=false", env={"CC": "clang"}, fixed=True),
}


class Services:
    """Kafka and the MongoDB server, brought up when the first suite wants them."""

    def __init__(self):
        self.kafka = self.mongo = None

    def env(self):
        """For the C suites: where they find the servers."""
        if not self.kafka:
            shutil.rmtree(LOGS / "services", ignore_errors=True)
        try:
            self.kafka = self.kafka or Kafka(LOGS / "services" / "kafka")
            self.mongo = self.mongo or Mongo(LOGS / "services" / "mongo")
        except ServiceError as error:
            raise Failed(str(error)) from error
        return {"LONGHAUL_TEST_MONGO_URI": self.mongo.uri, "LONGHAUL_TEST_KAFKA": self.kafka.bootstrap,
                "LONGHAUL_TEST_KAFKA_SASL": self.kafka.sasl_bootstrap, "LONGHAUL_TEST_KAFKA_USER": SASL_USER,
                "LONGHAUL_TEST_KAFKA_PASSWORD": SASL_PASSWORD}

    def stop(self):
        for service in (self.kafka, self.mongo):
            if service and not getattr(service, "external", False):
                service.stop()
        self.kafka = self.mongo = None


# ---- counting -------------------------------------------------------------------------------------------------


def read_junit(file, count, prefix="", reason="no reason given"):
    """Adds a file's cases; the number of those that failed. reason: for what was skipped without one of its own."""
    failed = 0
    try:
        cases = ElementTree.parse(file).iter("testcase")
    except ElementTree.ParseError as error:
        count.fail(f"{prefix}{file.name}", f"unreadable results: {error}")
        return 1
    for case in cases:
        name = prefix + "::".join(filter(None, (case.get("classname"), case.get("name"))))
        bad = case.find("failure")
        bad = bad if bad is not None else case.find("error")
        skipped = case.find("skipped")
        if bad is not None:
            failed += 1
            count.fail(name, bad.text or bad.get("message") or "")
        elif skipped is not None:
            count.skip(name, skipped.get("message") or skipped.text or reason)
        else:
            count.passed += 1
    return failed


def count_program(results, stem, status, count, said):
    """One test program: its cmocka cases, and its exit status where that says more. said: what programs printed; cmocka
    keeps no reason of a skip, so a program prints it."""
    name = stem.rpartition(".")[0]
    reason = said.get(name) or "the program does not say why"
    before = count.passed + count.failed + count.skipped
    failed = sum(read_junit(file, count, f"{name}::", reason) for file in sorted(results.glob(f"{stem}.*.xml")))
    cases = count.passed + count.failed + count.skipped - before
    if status == 77 and cases == 0:
        count.skip(name, reason)
    elif status != 0 and failed == 0:
        count.fail(name, f"exit status {status}")
    elif status == 0 and cases == 0:
        count.passed += 1


def told(test):
    """The distinct lines that a program printed, on one line; only those that speak of a skip, where it has such."""
    lines = f"{test.get('stdout') or ''}\n{test.get('stderr') or ''}".splitlines()
    lines = list(dict.fromkeys(filter(None, map(str.strip, lines))))
    return "; ".join([line for line in lines if line.startswith("skipped")] or lines)[:200]


def count_meson(folder, results, log, log_base):
    count = Count()
    try:
        # Meson puts the wrapper's name into that of the log.
        log_file = next((ROOT / folder / "meson-logs").glob(f"{log_base}*.json"))
        tests = [json.loads(line) for line in log_file.open()]
    except (OSError, ValueError, StopIteration):
        raise Failed(f"meson test gave no results:\n{tail(log)}") from None
    said = {Path(part).name: told(test) for test in tests for part in test["command"]}
    for file in sorted(results.glob("*.status")):
        count_program(results, file.name[:-len(".status")], int(file.read_text()), count, said)
    for test in tests:
        if test["result"] in ("TIMEOUT", "INTERRUPT", "ERROR"):
            count.fail(test["name"], f"{test['result']}\n{(test.get('stdout') or '')[-3000:]}")
        elif test["result"] == "FAIL" and count.failed:
            count.failures.append((f"{test['name']} (its output)", ((test.get("stderr") or "")[-6000:])))
    return count


# ---- suites ---------------------------------------------------------------------------------------------------


def meson_suite(build, suite, label, env):
    folder = BUILDS[build].need()
    results = LOGS / label
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    log, log_base = LOGS / f"{label}.log", f"testlog-{suite}"
    for old in (ROOT / folder / "meson-logs").glob(f"{log_base}*.json"):
        old.unlink()
    fixed = FIXED if build != "plain" else []
    run([*fixed, "meson", "test", "-C", folder, "--no-rebuild", "--suite", suite, "--logbase", log_base,
         "--wrapper", ROOT / "scripts/lib/wrap_test", "--print-errorlogs", "--num-processes", "2",
         "--timeout-multiplier", "1" if build == "plain" else "4"],
        log, {**SANITIZER_ENV, **env, "LONGHAUL_RESULTS": str(results)})
    return count_meson(folder, results, log, log_base)


def pytest_suite(build, label, *args):
    folder = BUILDS[build].need()
    log, results = LOGS / f"{label}.log", LOGS / f"{label}.xml"
    results.unlink(missing_ok=True)
    shutil.rmtree(LOGS / label, ignore_errors=True)
    status = run([*(FIXED if build != "plain" else []), PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", WORKERS,
                  f"--junitxml={results}", "tests/system", *args], log,
                 {**SANITIZER_ENV, "LONGHAUL_BUILD": str(ROOT / folder), "LONGHAUL_LOGS": str(LOGS / label),
                  "PYTHONDONTWRITEBYTECODE": "1"})
    if not results.exists():
        raise Failed(f"pytest ended with {status} and without results:\n{tail(log)}")
    count = Count()
    read_junit(results, count)
    if status not in (0, 1, 5) and not count.failed:
        count.fail(label, f"pytest ended with {status}:\n{tail(log)}")
    return count


def check(services):
    log = LOGS / "check.log"
    count = Count()
    if run(["scripts/check"], log) == 0:
        count.passed += 1
    else:
        count.fail("scripts/check", tail(log))
    return count


def unit(services):
    return meson_suite("plain", "unit", "unit", {})


def contract(services):
    return meson_suite("plain", "contract", "contract", services.env())


def system(services):
    return pytest_suite("plain", "system")


def browser(services):
    log, count = LOGS / "browser.log", Count()
    if run(["scripts/setup", "browser"], log) != 0:
        raise Failed(f"no browser:\n{tail(log)}")
    status = run(["tests/browser/run", BUILDS["plain"].need()], log)
    for line in text_of(log).splitlines():
        word, _, name = line.partition(" ")
        if word == "ok":
            count.passed += 1
        elif word == "FAILED":
            count.fail(name.strip(), tail(log))
    if status != 0 and not count.failed:
        count.fail("browser", tail(log))
    return count


def package(services):
    """The Debian package: built, and used in a clean root."""
    log, results, count = LOGS / "package.log", LOGS / "package.xml", Count()
    if run(["scripts/setup", "package"], log) != 0:
        raise Failed(f"the tools are missing:\n{tail(log)}")
    results.unlink(missing_ok=True)
    run([PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={results}", "tests/package"], log, {"PYTHONDONTWRITEBYTECODE": "1"})
    if not results.exists():
        raise Failed(f"pytest gave no results:\n{tail(log)}")
    read_junit(results, count)
    return count


def bench(services):
    """That the benchmark runs; its figures decide nothing."""
    log, count = LOGS / "bench.log", Count()
    if run(["scripts/bench", "--quick"], log, {"LONGHAUL_BENCH_BUILT": BUILDS["plain"].need()}) == 0:
        count.passed += 1
    else:
        count.fail("scripts/bench", tail(log))
    return count


# The sanitizers share the twins among the tests that run on both stores: ASan takes those on MongoDB, TSan those on SQLite.


def asan(services):
    env = services.env()
    return (meson_suite("asan", "unit", "asan-unit", {})
            .add(meson_suite("asan", "contract", "asan-contract", env))
            .add(pytest_suite("asan", "asan-system", "-m", "not heavy and not sqlite")))


def tsan(services):
    return (meson_suite("tsan", "threads", "tsan-unit", {})
            .add(meson_suite("tsan", "contract", "tsan-contract", {}))
            .add(pytest_suite("tsan", "tsan-system", "-m", "not heavy and not cluster")))


def chaos(services):
    """Both modes at once: they mostly wait. In each a run of the load under faults, then the mutants that bite there."""
    from tests.chaos.run import MUTANTS
    folder, count, lock = BUILDS["chaos"].need(), Count(), threading.Lock()
    count.add(pytest_chaos(folder))

    def lane(mode, *more):
        try:
            play(mode, *more)
        except Exception as error:  # of a thread nobody else hears
            with lock:
                count.fail(f"chaos {mode}", repr(error))

    def play(mode, *more):
        played = [played_chaos(folder, mode, "--mode", mode, "--tasks", "2000", "--faults", "30", *more)]
        played += [played_chaos(folder, mutant, "--mutant", mutant, "--tasks", "2000", "--round", "500", "--faults", "80", "--patience", "25")
                   for mutant, (where, _) in MUTANTS.items() if where == mode]
        with lock:
            for one in played:
                count.add(one)
    lanes = [threading.Thread(target=lane, args=args) for args in (("embedded", "--round", "1000"), ("cluster", "--round", "1000"))]
    for thread in lanes:
        thread.start()
    for thread in lanes:
        thread.join()
    return count


def pytest_chaos(folder):
    """The checker on histories made by hand; the switches are where they belong."""
    log, results, count = LOGS / "chaos.log", LOGS / "chaos.xml", Count()
    results.unlink(missing_ok=True)
    run([PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={results}", "tests/chaos"], log,
        {"LONGHAUL_BUILD": str(ROOT / folder), "LONGHAUL_PLAIN_BUILD": str(ROOT / BUILDS["plain"].need()), "PYTHONDONTWRITEBYTECODE": "1"})
    if not results.exists():
        raise Failed(f"pytest gave no results:\n{tail(log)}")
    read_junit(results, count)
    return count


def played_chaos(folder, name, *args):
    """One run of scripts/chaos: clean, or red where a rule was left out."""
    log, kept, count = LOGS / f"chaos-{name}.log", LOGS / f"chaos-{name}", Count()
    shutil.rmtree(kept, ignore_errors=True)
    seed = ("--seed", os.environ["LONGHAUL_CHAOS_SEED"]) if "LONGHAUL_CHAOS_SEED" in os.environ else ()
    status = run(["scripts/chaos", *args, *seed, "--keep", kept], log, {"LONGHAUL_CHAOS_BUILT": folder})
    if status == (1 if "--mutant" in args else 0):
        count.passed += 1
        shutil.rmtree(kept, ignore_errors=True)
    else:
        count.fail(f"scripts/chaos {' '.join(args)}: exit status {status}", text_of(log))
    return count


def fuzz(services):
    folder = BUILDS["fuzz"].need()
    count, log = Count(), LOGS / "fuzz.log"
    run(["scripts/fuzz", str(FUZZ_S)], log, {"LONGHAUL_FUZZ_BUILT": folder})
    for line in text_of(log).splitlines():
        word, _, name = line.partition(" ")
        if word == "fuzz-ok":
            count.passed += 1
        elif word == "fuzz-failed":
            count.fail(name, tail(LOGS / f"fuzz-{name}.log"))
    if count.passed + count.failed == 0:
        raise Failed(f"no fuzzer ran:\n{tail(log)}")
    return count


# In the order in which they run; the builds that each needs.
SUITES = {
    "check": (check, ()),
    "unit": (unit, ("plain",)),
    "contract": (contract, ("plain",)),
    "system": (system, ("plain",)),
    "browser": (browser, ("plain",)),
    "package": (package, ()),
    "bench": (bench, ("plain",)),
    "asan": (asan, ("asan",)),
    "tsan": (tsan, ("tsan",)),
    "chaos": (chaos, ("plain", "chaos")),
    "fuzz": (fuzz, ("fuzz",)),
}


def build_ahead(names):
    wanted = dict.fromkeys(build for name in names for build in SUITES[name][1] if build != "plain")
    for build in wanted:
        BUILDS[build].make(nice=True)


# What a run of scripts/chaos found, without the histories that it prints with it.
CHAOS_FOUND = re.compile(r"round \d+: (?:(?:invariant|services)\b.*|\S+ ended by itself with -?\d+)|(?:RED, but|CLEAN|DOES NOT COUNT)\b.*")
CHAOS_KIND = re.compile(r"round \d+: (?:invariant \d+|services|\S+ ended)|\w+")
RAISED = re.compile(r"[\w.]+(?:Error|Exception|Expired|Failed)\b.*")
FOUND_MAX, WORDS_MAX = 5, 300


def all_found(lines):
    """The lines that say what is wrong: those of a chaos run, or what pytest marks as the error, or else exceptions, the last one first."""
    return ([match.group() for match in map(CHAOS_FOUND.match, lines) if match]
            or [line[1:].strip() for line in lines if line.startswith("E  ")]
            or [line for line in reversed(lines) if RAISED.match(line)])


def one_of_each(found):
    """The first of each kind before others: a hundred tasks that are lost hide no second invariant."""
    kinds = [CHAOS_KIND.match(line).group() for line in found]
    firsts = [line for number, line in enumerate(found) if kinds[number] not in kinds[:number]]
    return firsts + [line for line in found if line not in firsts]


def first_words(test, text):
    """A failure in a line, a chaos run's in one for each thing that it found."""
    lines = text.strip().splitlines()
    found = all_found(lines) or lines[-1:] or ["no output"]
    several = any(map(CHAOS_FOUND.match, found))
    told = one_of_each(found)[:FOUND_MAX] if several else found[:1]
    if several and len(found) > len(told):
        told.append(f"... and {len(found) - len(told)} more")
    return [f"  FAILED {test}: {words[:WORDS_MAX]}" for words in told]


def told_of_failure(text):
    """What is wrong comes first: a reader may see the beginning alone."""
    lines = text.strip().splitlines()
    return all_found(lines)[:20] + lines[-60:]


def tell_failures(count):
    for test, text in count.failures:
        print(*first_words(test, text), sep="\n")


def report(name, count, seconds):
    print(f"{name:<10} {count}  ({seconds:.0f} s)", flush=True)
    tell_failures(count)
    for test, text in count.failures:
        print(f"  --- {test}")
        for line in told_of_failure(text):
            print(f"    {line}")
    for reason in dict.fromkeys(count.skips):
        print(f"  skipped {reason}")
    sys.stdout.flush()


def run_suite(name, services):
    began = time.monotonic()
    try:
        count = SUITES[name][0](services)
    except Failed as error:
        count = Count()
        count.fail(name, str(error))
    report(name, count, time.monotonic() - began)
    return count


def lock_logs():
    """One scripts/test at a time per tree: builds and results are in fixed places."""
    LOGS.mkdir(parents=True, exist_ok=True)
    lock = open(LOGS / "lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("test: scripts/test is already running in this tree")
    return lock


def interrupted(number, _frame):
    raise KeyboardInterrupt(number)


def main():
    parser = argparse.ArgumentParser(prog="scripts/test", description="Runs the test suites.")
    parser.add_argument("suite", nargs="*", help="default: all of them")
    parser.add_argument("--list", action="store_true", help="name the suites")
    args = parser.parse_args()
    if args.list:
        print("\n".join(SUITES))
        return 0
    unknown = [name for name in args.suite if name not in SUITES]
    if unknown:
        parser.error(f"no such suite: {', '.join(unknown)} (there are: {', '.join(SUITES)})")
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGINT, interrupted)
    names = [name for name in SUITES if not args.suite or name in args.suite]
    lock = lock_logs()
    total, services = Count(), Services()
    try:
        if {"contract", "system", "asan", "chaos"} & set(names):
            install()
        if any("plain" in SUITES[name][1] for name in names):
            BUILDS["plain"].make()
        threading.Thread(target=build_ahead, args=(names,), daemon=True).start()
        for name in names:
            total.add(run_suite(name, services))
    except KeyboardInterrupt:
        print("interrupted: stopping what was started", flush=True)
        end_running()
        total.fail("interrupted", "")
    except ServiceError as error:
        print(f"services: {error}", flush=True)
        total.fail("services", str(error))
    finally:
        services.stop()
    lock.close()
    print(f"logs: {LOGS.relative_to(ROOT)}")
    tell_failures(total)  # once more: a reader may see the end alone
    print(total, flush=True)
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main())
