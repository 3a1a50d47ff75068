"""Behind scripts/bench: what the service does on this machine, beside bare costs and, if they are there, other task queues.

Nothing here passes or fails by a time: the exit status is 0 when everything could be measured. A peer that fails is named
in the table and stops nothing.
"""
import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.bench import cluster, growth, ours, peers, stored, table  # noqa: E402
from tests.bench.stack import ROOT, Bench, BenchError  # noqa: E402

PHASES = {"bare": ours.measure_bare, "create": ours.measure_create, "bulk": ours.measure_bulk, "drain": ours.measure_drain,
          "command": ours.measure_command, "latency": ours.measure_latency, "memory": ours.measure_memory,
          "stored": stored.measure_stored, "retention": ours.measure_retention}
# Those that peers are measured beside, or that noise hits hardest: repeated. The others run once.
REPEATED = ("create", "bulk", "drain", "command", "latency")

FULL = {"fsync": 1000, "healthz": 5000, "create": {1: 2000, 64: 40000}, "bulk": 50000,
        "drain": {"warm": 20000, "shared_object": 20000, "command": 5000}, "latency": 500, "memory": 1000000,
        "stored": 1000000, "status": 20000, "list": 1000, "stored_creates": 20000,
        "retention": {"backlog": 40000, "creates": 10000},
        "peers": {"tasks": 20000, "latency": 500, "cap_s": 30, "latency_cap_s": 20}}
QUICK = {"fsync": 200, "healthz": 1000, "create": {1: 300, 64: 6000}, "bulk": 10000,
         "drain": {"warm": 3000, "shared_object": 1000, "command": 500}, "latency": 50, "memory": 20000,
         "stored": 20000, "status": 4000, "list": 100, "stored_creates": 3000,
         "retention": {"backlog": 4000, "creates": 1500},
         "peers": {"tasks": 2000, "latency": 50, "cap_s": 10, "latency_cap_s": 10}}
# Modules that run at a time; most peers' workers run 16, river-tuned 200.
SLOTS = {"warm": [16, 64], "shared_object": [16], "command": [4]}

EXAMPLES = """examples:
  scripts/bench --quick                       a rough look, in under three minutes
  scripts/bench --only create,drain           only these measurements
  scripts/bench --peers ../peers              ours and other task queues in turns, three times
  scripts/bench --peers ../peers --peer asynq,river --reps 1 --only create,bulk
  scripts/bench --growth 1000000              curves from 1 k to 1 M stored tasks, drawn into docs/pictures
  scripts/bench > lines.json; scripts/bench --table lines.json
  scripts/bench --only stored --stored 10000000 --store /data/filled.db
  scripts/bench --growth 10000000 --store /data/grown.db > growth.json; scripts/bench --draw growth.json
"""


def said(*command):
    try:
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
    except OSError:
        return None
    return done.stdout.strip() or None


def cpu():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def slots_text(slots):
    return ", ".join(f"{kind} {' and '.join(map(str, some))}" for kind, some in slots.items())


def settings(bench, args):
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "quick": args.quick, "reps": args.reps,
        "longhaul": said(bench.build / "api/longhaul-api", "--version"), "commit": said("git", "describe", "--always", "--dirty"),
        "store": "sqlite", "journal_mode": "WAL", "synchronous": "FULL", "broker": "none",
        "slots": slots_text(bench.slots), "sqlite": said("pkg-config", "--modversion", "sqlite3"),
        "libevent": said("pkg-config", "--modversion", "libevent"), "cores": os.cpu_count(), "cpu": cpu(),
        "kernel": platform.release(), "filesystem": said("stat", "-f", "-c", "%T", str(bench.build)),
        "load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def names_in(parser, option, text, known):
    names = text.split(",")
    if unknown := [name for name in names if name not in known]:
        parser.error(f"{option}: {', '.join(unknown)} is unknown; there are {', '.join(known)}")
    return names


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     description="Measures the embedded service on this machine. JSON lines on standard output, "
                                                 "a table for people on standard error.")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller: rough figures")
    parser.add_argument("--only", metavar="NAMES", default=",".join(PHASES), help=f"of {','.join(PHASES)}; default: all")
    parser.add_argument("--reps", type=int, help="repetitions, of which the table shows medians; default: 1, with --peers 3")
    parser.add_argument("--slots", type=int, help="modules that run at a time; default: "
                                                  + slots_text(SLOTS))
    parser.add_argument("--peers", metavar="FOLDER", type=Path, help="run the peers' harness in this folder beside ours, in turns")
    parser.add_argument("--peer", metavar="NAMES", default=",".join(peers.PEERS), help=f"of {','.join(peers.PEERS)}; default: all")
    parser.add_argument("--growth", metavar="N", type=int, help="instead of all this: the curves from 1 k to N stored tasks, drawn into "
                                                                "docs/pictures; 10 M take 7 GB and about fifteen minutes")
    parser.add_argument("--stored", metavar="N", type=int, help=f"tasks in the filled store of `stored`; default: {FULL['stored']}")
    parser.add_argument("--store", metavar="FILE", type=Path, help="the file of the filled store, for `stored` and --growth: filled up "
                                                                  "from the size that it has on, and kept")
    parser.add_argument("--cluster", metavar="MONGO_URI", help="instead of all this: cluster mode over this MongoDB, in databases of its "
                                                                "own, beside a bare loop")
    parser.add_argument("--kafka", metavar="HOST:PORT", help="with --cluster: this Kafka; default: one that is started for it")
    parser.add_argument("--mongo-pids", metavar="PIDS", default="", help="with --cluster: the processes of that MongoDB on this "
                                                                         "machine, for their CPU")
    parser.add_argument("--parts", metavar="NAMES", default=",".join(cluster.PARTS), help="with --cluster: of "
                                                                                         f"{','.join(cluster.PARTS)}; default: all")
    parser.add_argument("--draw", metavar="FILE", type=Path, help="measure nothing: the pictures of the growth lines in this file")
    parser.add_argument("--table", metavar="FILE", type=Path, help="measure nothing: the table of the lines in this file")
    parser.add_argument("--build", type=Path, default=ROOT / "build-bench", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.only = names_in(parser, "--only", args.only, PHASES)
    args.parts = names_in(parser, "--parts", args.parts, cluster.PARTS)
    args.peer = names_in(parser, "--peer", args.peer, peers.PEERS)
    if args.peers and not (args.peers / "run_peers.sh").is_file():
        parser.error(f"--peers: {args.peers} has no run_peers.sh")
    for option in ("reps", "slots", "growth", "stored"):
        if (value := getattr(args, option)) is not None and value < 1:
            parser.error(f"--{option}: {value} is no number from 1 on")
    args.reps = args.reps or (3 if args.peers else 1)
    return args


def measure(bench, args):
    for rep in range(args.reps):
        for name in args.only:
            if rep == 0 or name in REPEATED:
                PHASES[name](bench)
        for name in args.peer if args.peers else ():
            peers.measure(bench, args.peers.resolve(), name)


def lines_of(file):
    return [json.loads(line) for line in file.read_text().splitlines() if line.startswith("{")]


def draw(lines):
    from tests.bench import plot
    for file in plot.draw(growth.lines_of(lines), growth.picture_folder(ROOT)):
        print(f"bench: {file.relative_to(ROOT)}", file=sys.stderr)


def do(bench, args):
    """What was asked for; bench.lines then has what the table shows."""
    if args.table or args.draw:
        bench.lines = lines_of(args.table or args.draw)
    else:
        line = settings(bench, args)
        bench.emit("settings", **(cluster.settings(line, args) if args.cluster else line))
        if args.cluster:
            cluster.measure(bench, args)
        elif args.growth:
            growth.measure(bench, args.growth)
        else:
            measure(bench, args)
    if args.growth or args.draw:
        draw(bench.lines)


def main():
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    counts = dict(QUICK if args.quick else FULL)
    counts["stored"] = args.stored or counts["stored"]
    bench = Bench(args.build.resolve(), counts, {kind: [args.slots] if args.slots else some for kind, some in SLOTS.items()},
                  args.store.resolve() if args.store else None)
    try:
        do(bench, args)
    except (BenchError, OSError, ValueError) as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    table.show(bench.lines)
    cluster.show(bench.lines)


if __name__ == "__main__":
    main()
