#!/usr/bin/env python3
"""openapi.py VERSION RC_C API_JSON OPERATION_JSON... OUTPUT_C OUTPUT_H: the texts of which GET /openapi.json is put together.

An operation's file (api/openapi/<word>.json) says what a reader needs to know of one route: summary, description, tag, parameters,
request, request_example, answer, answer_example, content_type, needs_token (of a route that takes no body), codes (the errors of its
own), error_more (what those carry besides), get (true: a GET takes the members of `data` as query parameters) and schemas of its own. Here the rest is added: the error answers by status with their codes, the headers, the id. `optional` in a schema names the
properties that may be absent; all others are required. A reference, code or key that does not exist ends the build."""
import json
import re
import sys
from pathlib import Path

KEYS = {"summary", "description", "tag", "parameters", "request", "request_example", "answer", "answer_example", "content_type",
        "needs_token", "codes", "error_more", "get", "schemas"}
# What any request may be told; a route of the API reads a body and needs a token, an open route neither.
HTTP_CODES = ["BAD_REQUEST", "REQUEST_TIMEOUT", "URI_TOO_LONG", "HEADERS_TOO_LARGE", "TOO_LARGE", "OVERLOADED", "INTERNAL", "NOT_IMPLEMENTED",
              "VERSION_NOT_SUPPORTED"]
GET_CODES = HTTP_CODES + ["INVALID_PARAMETER", "UNAUTHORIZED", "FORBIDDEN", "RATE_LIMITED", "STORE_UNAVAILABLE", "DRAINING"]
CALL_CODES = GET_CODES + ["LENGTH_REQUIRED", "UNSUPPORTED_MEDIA_TYPE"]
# Of the server as a whole: no operation that is described here answers them.
OTHER_CODES = ["NOT_FOUND", "METHOD_NOT_ALLOWED"]
ROW = re.compile(r'\[RC_\w+\] = \{"(\w+)", (\d+), \w+, (\d+),\s*"(.*?)"\}', re.S)


def fail(text):
    sys.exit(f"openapi.py: {text}")


def rc_table(file):
    """code -> (HTTP status, Retry-After or 0, text), as shared/base/rc.c has them."""
    rows = {word: (int(http), int(after), re.sub(r'"\s*"', "", text)) for word, http, after, text in ROW.findall(file.read_text())}
    if len(rows) < 40:
        fail(f"{file}: the table of outcomes does not read as it did")
    return rows


def with_required(node):
    """Schemas with `optional` as the standard's `required`."""
    if isinstance(node, list):
        return [with_required(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: with_required(value) for key, value in node.items()}
    if isinstance(node.get("optional"), list) and "properties" in node:
        optional = node.pop("optional")
        unknown = set(optional) - set(node["properties"])
        if unknown:
            fail(f"optional names no property: {', '.join(sorted(unknown))}")
        node["required"] = [name for name in node["properties"] if name not in optional]
    return node


def refs(node):
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from refs(item)


def error_answer(status, codes, table, more=None):
    """The answer with this status; `more`: members that it may have besides."""
    body = {"allOf": [{"$ref": "#/components/schemas/error"}, {"properties": {"code": {"enum": codes}, **(more or {})}}]}
    headers = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
    if all(table[code][1] for code in codes):
        headers["Retry-After"] = {"$ref": "#/components/headers/Retry-After"}
    if status == 401:
        headers["WWW-Authenticate"] = {"$ref": "#/components/headers/WWW-Authenticate"}
    return {"description": "; ".join(f"{code}: {table[code][2]}" for code in codes), "headers": headers,
            "content": {"application/json": {"schema": body}}}


def by_status(codes, table):
    found = {}
    for code in codes:
        if code not in table:
            fail(f"there is no code {code}")
        found.setdefault(table[code][0], []).append(code)
    return dict(sorted(found.items()))


def errors(operation, common, table):
    """The error answers of an operation; those that every call may give are references."""
    shared, own = by_status(CALL_CODES, table), by_status(common + [code for code in operation["codes"] if code not in common], table)
    mine = set(operation["codes"])
    return {str(status): error_answer(status, codes, table, operation.get("error_more") if mine & set(codes) else None)
            if shared.get(status) != codes else {"$ref": f"#/components/responses/error_{status}"} for status, codes in own.items()}


def media(schema, example):
    return {"schema": schema} if example is None else {"schema": schema, "example": example}


def check_keys(word, source):
    unknown = set(source) - KEYS
    missing = {"summary", "tag", "answer", "codes"} - set(source)
    if unknown or missing:
        fail(f"{word}: unknown keys {sorted(unknown)}, missing keys {sorted(missing)}")


def operation_of(word, source, parameters, common, table):
    """What operations by any method say alike."""
    operation = {"operationId": word, "tags": [source["tag"]], "summary": source["summary"]}
    if "description" in source:
        operation["description"] = source["description"]
    operation["parameters"] = [{"$ref": "#/components/parameters/request_id"}, *source.get("parameters", []), *parameters]
    kind = source.get("content_type", "application/json")
    operation["responses"] = {
        "200": {"description": "Done.", "headers": {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}},
                "content": {kind: media(source["answer"], source.get("answer_example"))}},
        **errors(source, common, table)}
    return operation


def describe(word, source, table):
    is_call = "request" in source
    operation = operation_of(word, source, [], CALL_CODES if is_call else HTTP_CODES, table)
    if is_call:
        operation["requestBody"] = {"required": "required" in source["request"],
                                    "content": {"application/json": media(source["request"], source.get("request_example"))}}
    elif not source.get("needs_token"):
        operation["security"] = []
    return with_required(operation)


def query_parameter(name, schema, optional):
    """A member of `data` in the query; where it may be one or several, it may stand several times."""
    said = {key: value for key, value in schema.items() if key != "description"}
    several = next((one for one in said.get("oneOf", []) if one.get("type") == "array"), said)
    parameter = {"name": name, "in": "query", "required": not optional, "schema": several}
    return {**parameter, "description": schema["description"]} if "description" in schema else parameter


def describe_get(word, source, table):
    data = source["request"]["properties"]["data"]
    parameters = [query_parameter(name, schema, name in data["optional"]) for name, schema in data["properties"].items()]
    return with_required(operation_of(f"get_{word}", source, parameters, GET_CODES, table))


def describe_all(sources, table):
    """name -> operation."""
    operations = {}
    for word, source in sources.items():
        check_keys(word, source)
        operations[word] = describe(word, source, table)
        if source.get("get"):
            operations[f"get_{word}"] = describe_get(word, source, table)
    return operations


def code_schema(sources, table):
    """Every code that an answer may carry, with what it means."""
    named = {*CALL_CODES, *OTHER_CODES, *(code for source in sources.values() for code in source["codes"])}
    codes = [code for code in table if code in named]
    rows = "\n".join(f"| `{code}` | {table[code][0]} | {table[code][2]} |" for code in codes)
    return {"type": "string", "enum": codes, "description": f"| code | HTTP | text begins |\n|---|---|---|\n{rows}"}


def put_schemas(api, sources):
    for word, source in sources.items():
        for name, schema in source.get("schemas", {}).items():
            if name in api["components"]["schemas"]:
                fail(f"{word}: the schema {name} is there twice")
            api["components"]["schemas"][name] = schema


def check_refs(api, operations):
    for ref in [ref for part in (api, operations) for ref in refs(part)]:
        node = api
        for key in ref.removeprefix("#/").split("/"):
            node = node.get(key) if isinstance(node, dict) else None
        if node is None:
            fail(f"{ref} does not exist")


def c_array(name, text):
    """A definition; longer than a string literal may be."""
    data = text.encode("ascii") + b"\0"
    rows = [", ".join(map(str, data[at:at + 32])) for at in range(0, len(data), 32)]
    return f"const char {name}[] = {{\n    " + ",\n    ".join(rows) + "};\n"


def dump(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)


def main():
    version, rc_c, api_json, *files, output_c, output_h = sys.argv[1:]
    table = rc_table(Path(rc_c))
    sources = {}
    for file in map(Path, [api_json, *files]):
        try:
            sources[file.stem] = json.loads(file.read_text())
        except ValueError as error:
            fail(f"{file}: {error}")
    api = sources.pop("api")
    api["info"]["version"] = version
    put_schemas(api, sources)
    api["components"]["schemas"]["code"] = code_schema(sources, table)
    api["components"]["responses"] = {f"error_{status}": error_answer(status, codes, table)
                                      for status, codes in by_status(CALL_CODES, table).items()}
    api = with_required(api)
    operations = describe_all(sources, table)
    check_refs(api, operations)
    names = [f"openapi_{word}" for word in operations]
    Path(output_h).write_text("/* Written by scripts/openapi.py: JSON texts. */\n#pragma once\n\n/* The document up to its paths: an object"
                              " that is left open. */\nextern const char openapi_head[];\n\n/* The operation of each route. */\n"
                              + "".join(f"extern const char {name}[];\n" for name in names))
    texts = {"openapi_head": dump(api)[:-1], **dict(zip(names, map(dump, operations.values())))}
    Path(output_c).write_text('#include "api/openapi/openapi_text.h"\n\n' + "\n".join(map(c_array, texts, texts.values())))


if __name__ == "__main__":
    main()
