// JSON as people wrote it: integers of 64 bits and every digit of a number stay. A number that JavaScript would change is kept as
// Exact, with its text. A fault is told with line and column.

const ESCAPES = { '"': '"', "\\": "\\", "/": "/", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const PLAIN = /[^"\\\u0000-\u001f]*/y;
const SPACE = /[ \t\r\n]*/y;
const WORD = /true|false|null/y;
const DEEPEST = 64; // as the API has it

export class Exact {
  constructor(text) {
    this.text = text;
  }
}

export class JsonFault extends Error {
  constructor(kind, text, at) {
    super(kind);
    const before = text.slice(0, at).split("\n");
    this.kind = kind; // a key of the table of texts
    this.at = at;
    this.line = before.length;
    this.column = before[before.length - 1].length + 1;
  }
}

class Reader {
  constructor(text, deepest) {
    this.text = text;
    this.deepest = deepest;
    this.at = 0;
  }

  fail(kind, at = this.at) {
    throw new JsonFault(kind, this.text, at);
  }

  match(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (found) this.at = pattern.lastIndex;
    return found?.[0];
  }

  peek() {
    this.match(SPACE);
    return this.text[this.at];
  }

  number() {
    const from = this.at;
    const text = this.match(NUMBER);
    if (text === undefined) this.fail("json_value");
    const value = Number(text);
    if (!Number.isFinite(value)) this.fail("json_number", from);
    return String(value) === text ? value : new Exact(text);
  }

  string() {
    const from = this.at++;
    let text = "";
    for (;;) {
      text += this.match(PLAIN);
      const mark = this.text[this.at];
      if (mark === '"') {
        this.at++;
        return text;
      }
      if (mark === undefined) this.fail("json_open_string", from);
      if (mark !== "\\") this.fail("json_control");
      text += this.escape();
    }
  }

  escape() {
    const letter = this.text[this.at + 1];
    if (letter === "u") {
      const code = this.text.slice(this.at + 2, this.at + 6);
      if (!/^[0-9a-fA-F]{4}$/.test(code)) this.fail("json_escape");
      this.at += 6;
      return String.fromCharCode(parseInt(code, 16));
    }
    if (!(letter in ESCAPES)) this.fail("json_escape");
    this.at += 2;
    return ESCAPES[letter];
  }

  array(depth) {
    const items = [];
    this.at++;
    if (this.peek() === "]") {
      this.at++;
      return items;
    }
    for (;;) {
      items.push(this.value(depth));
      const mark = this.peek();
      if (mark !== "," && mark !== "]") this.fail("json_comma");
      this.at++;
      if (mark === "]") return items;
    }
  }

  member(object, depth) {
    if (this.peek() !== '"') this.fail("json_key");
    const at = this.at;
    const key = this.string();
    if (object.has(key)) this.fail("json_twice", at);
    if (this.peek() !== ":") this.fail("json_colon");
    this.at++;
    object.set(key, this.value(depth));
  }

  object(depth) {
    const object = new Map();
    this.at++;
    if (this.peek() === "}") {
      this.at++;
      return object;
    }
    for (;;) {
      this.member(object, depth);
      const mark = this.peek();
      if (mark !== "," && mark !== "}") this.fail("json_comma");
      this.at++;
      if (mark === "}") return object;
    }
  }

  value(depth = 0) {
    const mark = this.peek();
    if (depth > this.deepest) this.fail("json_deep");
    if (mark === "{") return this.object(depth + 1);
    if (mark === "[") return this.array(depth + 1);
    if (mark === '"') return this.string();
    if (mark === undefined) this.fail("json_end");
    const word = this.match(WORD);
    return word ? JSON.parse(word) : this.number();
  }
}

// Objects become Maps, which keep the order of their keys.
export function parse(text, deepest = DEEPEST) {
  const reader = new Reader(text, deepest);
  const value = reader.value();
  if (reader.peek() !== undefined) reader.fail("json_after");
  return value;
}

// The text of what parse() gave, indented by two; `indent` null: on one line.
export function print(value, indent = "") {
  const inner = indent === null ? null : `${indent}  `;
  const wrap = (open, close, items) => {
    if (items.length === 0) return open + close;
    if (indent === null) return open + items.join(", ") + close;
    return `${open}\n${items.map((item) => inner + item).join(",\n")}\n${indent}${close}`;
  };
  if (value instanceof Exact) return value.text;
  if (Array.isArray(value)) return wrap("[", "]", value.map((item) => print(item, inner)));
  if (value instanceof Map)
    return wrap("{", "}", [...value].map(([key, item]) => `${JSON.stringify(key)}: ${print(item, inner)}`));
  return JSON.stringify(value);
}

// Plain objects, for what is not shown digit by digit; `keep` names members whose values stay as parse() gave them.
export function plain(value, keep = []) {
  if (value instanceof Exact) return Number(value.text);
  if (Array.isArray(value)) return value.map((item) => plain(item, keep));
  if (!(value instanceof Map)) return value;
  return Object.fromEntries([...value].map(([key, item]) => [key, keep.includes(key) ? item : plain(item, keep)]));
}
