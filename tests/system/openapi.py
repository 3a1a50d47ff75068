"""What /openapi.json says, held against what the API answers: every answer that a test gets through a Stack is checked.

The check is stricter than the document: where it does not say that an object may hold more, a member that it does not name is a fault
of one of the two.
"""
import json

import jsonschema_rs


def pointer(document, ref):
    node = document
    for key in ref.removeprefix("#/").split("/"):
        node = node[key.replace("~1", "/").replace("~0", "~")]
    return node


def _named_in_all_of(node, found):
    if isinstance(node, dict):
        found.update(part["$ref"] for part in node.get("allOf", ()) if "$ref" in part)
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            _named_in_all_of(item, found)
    return found


def _closed(node, inside=False):
    """The schema with no room for members that it does not name. inside: it is a part of an allOf, which is closed as a whole."""
    if isinstance(node, list):
        return [_closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    closed = {key: [_closed(part, True) for part in value] if key == "allOf" else _closed(value) for key, value in node.items()}
    if "allOf" in node:
        closed["unevaluatedProperties"] = False
    elif "properties" in node and isinstance(node["properties"], dict) and "additionalProperties" not in node and not inside:
        closed["additionalProperties"] = False
    return closed


class Document:
    def __init__(self, document):
        self.document = document
        shared = _named_in_all_of(document, set())
        self.components = {"schemas": {name: _closed(schema, f"#/components/schemas/{name}" in shared)
                                       for name, schema in document["components"]["schemas"].items()}}
        self.validators = {}

    def operation(self, method, path):
        return self.document["paths"].get(path.partition("?")[0], {}).get("get" if method == "HEAD" else method.lower())

    def resolved(self, node):
        return pointer(self.document, node["$ref"]) if "$ref" in node else node

    def answer(self, operation, status):
        """The description of the answer with this status, or None."""
        found = operation["responses"].get(str(status))
        return found and self.resolved(found)

    def validator(self, schema, closed=True):
        key = json.dumps([schema, closed], sort_keys=True)
        if key not in self.validators:
            parts = {**_closed(schema), "components": self.components} if closed else {**schema, "components": self.document["components"]}
            whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **parts}
            self.validators[key] = jsonschema_rs.validator_for(whole, validate_formats=True)
        return self.validators[key]

    def check(self, method, path, status, headers, body):
        """Raises AssertionError where the answer is not as the document says."""
        operation = self.operation(method, path)
        if operation is None:
            return
        answer = self.answer(operation, status)
        assert answer, f"{method} {path}: the document knows no answer {status}: {body[:300]!r}"
        for name, header in answer.get("headers", {}).items():
            assert headers.get(name) or not self.resolved(header).get("required"), f"{method} {path}: {status} without {name}"
        kind = (headers.get("Content-Type") or "").partition(";")[0]
        assert kind in answer["content"], f"{method} {path}: {status} is {kind}"
        if method == "HEAD" or kind != "application/json":
            return
        error = next(self.validator(answer["content"][kind]["schema"]).iter_errors(json.loads(body)), None)
        assert not error, f"{method} {path}: {status} {body[:600]!r} is not as described: {error.message[:600]}"
