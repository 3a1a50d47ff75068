"""The plain Kafka consumer outlives what its library makes of connections that are cut."""
import subprocess
import sys
from pathlib import Path

FOREIGN = Path(__file__).resolve().parent / "foreign.py"
# A library that raises what it never says it raises: once when it connects, then in a poll, then at the end.
LIBRARY = '''
from pathlib import Path

FILE = Path(__file__).parent / "turns"
TURNS = ["refuse", "poll", "refuse", "refuse", "end"]


class KafkaConsumer:
    def __init__(self, *args, **settings):
        done = len(FILE.read_text()) if FILE.exists() else 0
        FILE.write_text("x" * (done + 1))
        self.turn = TURNS[done]
        if self.turn == "refuse":
            raise AttributeError("no socket")

    def poll(self, timeout_ms):
        if self.turn == "end":
            raise SystemExit(7)
        raise RuntimeError("the set changed while it was read")

    def close(self, **how):
        raise OSError("nothing to close")
'''


def test_it_begins_anew_whatever_the_library_raises(tmp_path):
    (tmp_path / "kafka").mkdir()
    (tmp_path / "kafka" / "__init__.py").write_text(LIBRARY)
    (tmp_path / "kafka" / "errors.py").write_text("class KafkaError(Exception):\n    pass\n")
    done = subprocess.run([sys.executable, str(FOREIGN), "localhost:1", "topic", "group", "http://127.0.0.1:1", "token"],
                          env={"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 7, done.stderr
    assert done.stderr.count('"ready"') == 2 and done.stderr.count("no socket") == 3
