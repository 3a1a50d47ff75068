"""A plain Kafka consumer of the base contract: foreign.py BOOTSTRAP TOPIC GROUP URL TOKEN.

It knows no run_id. It repeats a report that was not answered, and commits when a task is done.
"""
import http.client
import json
import os
import sys
import time
from urllib.parse import urlsplit

from kafka import KafkaConsumer
from kafka.errors import KafkaError

bootstrap, topic, group, url, token = sys.argv[1:]
place = urlsplit(url)


def report(task_id, status, **more):
    """Until it is answered; (HTTP status, code, whether an earlier try was not answered)."""
    body = json.dumps({"data": {"task_id": task_id, "status": status, **more}})
    unsure = False
    while True:
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=10)
        try:
            connection.request("POST", "/api/update_status_task", body, {"Authorization": token, "Content-Type": "application/json"})
            answer = connection.getresponse()
            said = json.loads(answer.read())
            if answer.status < 500:
                return answer.status, said.get("code"), unsure
            unsure |= answer.status == 504
        except (OSError, http.client.HTTPException, ValueError):
            unsure = True
        finally:
            connection.close()
        time.sleep(0.1)


def run(task):
    status, code, unsure = report(task["task_id"], "running")
    if status == 200 or (code == "ALREADY_CLAIMED" and unsure):
        report(task["task_id"], "failed" if task["condition"].get("do") == "fail" else "finished")


def connect():
    """Until the broker answers, which it may do late."""
    while True:
        try:
            return KafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False,
                                 session_timeout_ms=6000, heartbeat_interval_ms=1000, max_poll_records=8)
        except Exception as error:
            print(repr(error), file=sys.stderr, flush=True)
            time.sleep(0.2)


consumer = connect()
print(json.dumps({"msg": "ready"}), file=sys.stderr, flush=True)
while True:
    try:
        for batch in consumer.poll(timeout_ms=500).values():
            for record in batch:
                run(json.loads(record.value.decode("utf8"))["Task"])
        consumer.commit()
    except KafkaError as error:  # a rebalance or an outage: the messages come again and are refused as claimed
        print(repr(error), file=sys.stderr, flush=True)
    except Exception as error:  # what the library makes of a connection that is cut. Its threads may go on: they end with the program's image
        print(repr(error), file=sys.stderr, flush=True)
        os.execv(sys.executable, [sys.executable, *sys.argv])
