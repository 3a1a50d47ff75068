// Modules of the page that need no page: texts, JSON with every digit, filters, history.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

const folder = new URL("../../api/dashboard/", import.meta.url);
const load = (name) => import(new URL(name, folder));
const holes = (text) => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort();

function sources() {
  const names = readdirSync(folder).filter((name) => name.endsWith(".js") && name !== "i18n.js");
  return names.map((name) => readFileSync(join(folder.pathname, name), "utf8")).join("\n");
}

export default function steps() {
  globalThis.localStorage ??= { getItem: () => "en", setItem: () => {} };
  return [
    ["every text is there in both languages, with the same holes; every text is used, and none is missing", async () => {
      const { TEXTS } = await load("i18n.js");
      for (const [key, texts] of Object.entries(TEXTS)) {
        assert.equal(texts.length, 2, key);
        assert.ok(texts.every((text) => text.length > 0), key);
        assert.deepEqual(holes(texts[0]), holes(texts[1]), key);
      }
      const code = sources();
      const families = [...code.matchAll(/\bt\(`(\w+_)\$\{/g)].map((match) => match[1]);
      const named = new Set([...code.matchAll(/["'](\w+)["']|\b(\w+): numberInput/g)].map((match) => match[1] ?? match[2]));
      assert.deepEqual(Object.keys(TEXTS).filter((key) => !named.has(key) && !families.some((family) => key.startsWith(family))), []);
      assert.deepEqual([...code.matchAll(/\bt\("(\w+)"/g)].map((match) => match[1]).filter((key) => !(key in TEXTS)), []);
    }],
    ["JSON keeps every digit and order; its faults have their place", async () => {
      const { parse, print } = await load("json_text.js");
      for (const text of ["9007199254740993", "-0", "1.0", "1e2", '{"b": 1, "a": [true, null, "é\\n"]}', "[]", "{}", '"\\u0000"', "[[1], {}]"])
        assert.equal(print(parse(text), null), text);
      const faults = [["", 1, 1, "json_end"], ["[1,]", 1, 4, "json_value"], ['{"a" 1}', 1, 6, "json_colon"], ['{\n  a: 1}', 2, 3, "json_key"], ['"abc', 1, 1, "json_open_string"],
        ["[1 2]", 1, 4, "json_comma"], ['{"a":1,"a":2}', 1, 8, "json_twice"], ["1 2", 1, 3, "json_after"], ['"\\x"', 1, 2, "json_escape"], ["1e999", 1, 1, "json_number"],
        ['"a\nb"', 1, 3, "json_control"], ["[".repeat(66), 1, 66, "json_deep"], ["nul", 1, 1, "json_value"], ["01", 1, 2, "json_after"]];
      for (const [text, line, column, kind] of faults)
        assert.throws(() => parse(text), (fault) => assert.deepEqual([fault.line, fault.column, fault.kind], [line, column, kind], text) ?? true, text);
    }],
    ["filters go to the URL and back, tags with commas and signs too", async () => {
      const { fromQuery, toBody, readTags, printTags, fitting } = await load("filters.js");
      const tags = { "a=b": "c,d", e: "f\\g", h: "" };
      assert.deepEqual(readTags(printTags(tags)), tags);
      assert.throws(() => readTags("nothing"));
      const filter = fromQuery(new URLSearchParams("service=a&status=failed&status=ready&tags=x%3Dy&other=1"));
      assert.deepEqual(toBody(filter), { service: "a", status: ["failed", "ready"], tags: { x: "y" } });
      assert.deepEqual(fitting({ status: ["failed"], sub_status: ["dead", "held"] }).sub_status, ["dead"]);
    }],
    ["events come through however the stream is cut", async () => {
      const text = 'retry: 1000\n\n:\n\nid: a-1\nevent: hello\ndata: {"resumed":false}\n\nevent: status\ndata: {"task_id":"t","message":"naïve 任务"}\n\n:\n\nevent: gap\ndata: {"reason":"slow"}\n\n';
      const bytes = new TextEncoder().encode(text);
      globalThis.document ??= { hidden: false, addEventListener() {}, removeEventListener() {} };
      globalThis.sessionStorage ??= { getItem: () => "token" };
      const { watch } = await load("watch.js");
      const real = globalThis.fetch;
      for (const size of [1, 7, bytes.length]) {
        const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.slice(i * size, (i + 1) * size));
        globalThis.fetch = async () => new Response(new ReadableStream({ start(controller) {
          for (const piece of pieces) controller.enqueue(piece);
          controller.close();
        } }));
        const heard = [];
        await new Promise((resolve) => {
          const watcher = watch("t", (event, data) => {
            heard.push([event, data]);
            if (event !== "gap") return;
            watcher.stop();
            resolve();
          });
        });
        assert.deepEqual(heard, [["hello", { resumed: false }], ["status", { task_id: "t", message: "naïve 任务" }], ["gap", { reason: "slow" }]]);
      }
      globalThis.fetch = real;
    }],
    ["services together: counts add up, ages and durations are the worst one's, unknown stays unknown", async () => {
      const { merged } = await load("history.js");
      const one = { created: [1, null, 3], oldest_s: [null, 2, 5] }, two = { created: [1, null, null], oldest_s: [null, 4, 1] };
      assert.deepEqual(merged({ one, two }), { created: [2, null, 3], oldest_s: [null, 4, 5] });
    }],
  ];
}
