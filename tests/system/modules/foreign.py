"""A module as somebody wrote it for the base contract: a plain Kafka consumer that knows the API's address and the token.

foreign.py BOOTSTRAP TOPIC GROUP URL TOKEN: reads its topic for ever, reports running and finished.
"""
import json
import sys
import urllib.request

from kafka import KafkaConsumer

bootstrap, topic, group, url, token = sys.argv[1:]


def report(task_id, status, message):
    body = json.dumps({"data": {"task_id": task_id, "status": status, "message": message}}).encode()
    request = urllib.request.Request(f"{url}/api/update_status_task", body, {"Authorization": token, "Content-Type": "application/json"})
    answer = json.load(urllib.request.urlopen(request, timeout=60))
    assert answer == {"result": "ok", "status": {"task_id": task_id, "status": status}}, answer


for record in KafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest"):
    task = json.loads(record.value.decode("utf8"))["Task"]
    report(task["task_id"], "running", "began")
    condition = task["condition"]
    if condition.get("fail"):
        report(task["task_id"], "failed", "was told to")
    else:
        report(task["task_id"], "finished", f"{task['source_name']}: {sum(condition['numbers'])}")
