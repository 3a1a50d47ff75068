// One task: created by hand, held, edited, run with a live log, cancelled, started again, deleted.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { TOLD_MS } from "./page.mjs";
import { until } from "./stack.mjs";

const BIG = '{"n": 9007199254740993, "x": 1.0, "text": "naïve 任务"}';
export const MARKUP = "<b>no input</b>";

export default function steps({ page: p, stack }) {
  const id = async () => decodeURIComponent((await p.hash()).replace("#/task/", ""));
  const lines = (stream) => p.count(`#log-${stream} > div`);
  let task, talk;

  return [
    ["a task is created from the form, and a fault of its JSON is told with its place", async () => {
      await p.page.click("#create");
      await p.has("dialog[open] #c-service option");
      await p.page.selectOption("#c-service", "echo");
      await p.page.fill("#c-condition", '{"a": 1,\n "b": tru}');
      assert.match(await p.text("#c-condition-problem"), /Line 2, column 7/);
      await p.dialog("button[type=submit]").click();
      await p.see("dialog[open] .problem", "Line 2, column 7");
      assert.deepEqual(await p.page.evaluate(() => [document.activeElement.id, document.activeElement.selectionStart]), ["c-condition", 15]);
      await p.page.fill("#c-condition", BIG);
      await p.page.fill("#c-priority", "7");
      await p.page.fill("#c-timeout", "60");
      await p.page.fill("#c-attempts", "3");
      await p.page.fill("#c-tags", "team=blue, kind=a\\,b");
      await p.page.check("#c-hold");
      await p.confirm();
      await p.badge("ready");
      task = await id();
    }],
    ["what was typed reaches the API digit by digit, and is shown so", async () => {
      const stored = await stack.askText("tasks", { task_id: task, fields: ["condition", "priority", "max_attempts", "tags", "sub_status"] });
      assert.ok(stored.includes("9007199254740993") && stored.includes("1.0") && stored.includes("naïve 任务"), stored);
      const [{ priority, max_attempts, tags, sub_status }] = JSON.parse(stored).data;
      assert.deepEqual([priority, max_attempts, tags, sub_status], [7, 3, { team: "blue", kind: "a,b" }, "held"]);
      assert.match(await p.text("#condition"), /9007199254740993[^]*1\.0[^]*naïve 任务/);
    }],
    ["a refused create stays in its form with the API's words", async () => {
      await p.page.click("#do-like");
      await p.has("dialog[open] #c-service option");
      assert.equal(await p.page.inputValue("#c-tags"), "team=blue, kind=a\\,b");
      await p.page.fill("#c-condition", "99999999999999999999999");
      await p.dialog("button[type=submit]").click();
      await p.see("dialog[open] .problem", "condition");
      await p.escape();
      p.faults.length = 0; // the browser logs the 400
    }],
    ["its condition is edited while it is held", async () => {
      await p.page.click("#do-edit");
      await p.page.fill("#e-condition", '{"n": 9007199254740995}');
      await p.page.keyboard.press("Control+Enter");
      await p.page.locator("dialog[open]").waitFor({ state: "detached" });
      await p.see("#condition", "9007199254740995");
    }],
    ["it is started by hand and ends when a consumer is there", async () => {
      await p.page.click("#do-start");
      await p.confirm();
      await p.badge("waiting");
      await stack.start("consumer");
      await p.badge("finished");
      await p.see("#result", '"echo": 1');
      assert.equal(await p.count('#timeline [data-end="finished"] svg.run'), 1);
    }],
    ["the log of a run appears while it goes on, both streams, with its progress", async () => {
      talk = await stack.create("talks", { lines: 600 });
      await p.task(talk);
      await p.badge("running");
      await p.see("#log-stdout", "line 3");
      const before = await lines("stdout");
      await until("more lines", async () => (await lines("stdout")) > before);
      assert.equal((await stack.statusOf(talk)).status, "running");
      await p.see("#log-stderr", "to stderr 2");
      await p.see("#progress", "/ 600 · lines");
      assert.ok((await p.page.locator("#progress progress").getAttribute("value")) > 0);
    }],
    ["a paused log stands still, and goes on without a gap", async () => {
      await p.page.keyboard.press("f");
      await p.see('[data-stream=stdout] .log-state[data-state="paused"]');
      const progress = async () => parseInt(await p.text("#progress span"), 10);
      const later = async (than) => until("progress", async () => (await progress()) > than);
      await later((await progress()) + 1); // what was under way has come
      const still = await lines("stdout");
      await later(Math.max(await progress(), still) + 4);
      assert.equal(await lines("stdout"), still);
      await p.page.keyboard.press("f");
      await until("the rest", async () => (await lines("stdout")) > still + 3);
      const texts = await p.page.locator("#log-stdout > div").allTextContents();
      assert.deepEqual(texts, texts.map((_, i) => `line ${i + 1}`));
    }],
    ["a running task is cancelled by a key and a word", async () => {
      await p.page.keyboard.press("c");
      await p.page.fill("#cancel-reason", "wrong month");
      await p.page.fill("#cancel-grace", "0.2");
      await p.confirm();
      await p.badge("failed");
      await p.see("#view .heading small", "cancelled");
      assert.equal((await stack.statusOf(talk)).sub_status, "cancelled");
      await p.see('[data-stream=stdout] .log-state[data-state="end"]');
    }],
    ["it is started again; both attempts stand in the picture, each with its log", async () => {
      await p.page.keyboard.press("s");
      await p.confirm();
      await p.badge("running");
      await p.see("#timeline li:nth-child(2)[data-end='']");
      await p.see("#log-stdout", "line 2");
      await p.page.selectOption("#attempt", "1");
      await p.see('[data-stream=stdout] .log-state[data-state="end"]');
      await p.page.selectOption("#attempt", "latest");
      await p.see('[data-stream=stdout] .log-state[data-state="live"]');
      await p.picture("task");
      await stack.ask("cancel_task", { task_id: talk, grace_s: 0.2 });
      await p.badge("failed");
    }],
    ["of a long log the page keeps the last lines, and all of it can be downloaded", async () => {
      const long = await stack.create("long", {});
      await p.task(long);
      await p.badge("finished");
      await p.see("#log-stdout", "row 6000");
      assert.ok((await lines("stdout")) <= 2000);
      await p.page.locator("[data-stream=stdout] button", { hasText: "From the start" }).click();
      await p.see("[data-stream=stdout] .bar small", "lines above");
      await p.see('[data-stream=stdout] .log-state[data-state="end"]');
      assert.equal(await lines("stdout"), 2000);
      const [download] = await Promise.all([p.page.waitForEvent("download"), p.page.locator("[data-stream=stdout] button", { hasText: "Download" }).click()]);
      const saved = readFileSync(await download.path(), "utf8");
      assert.equal(saved, Array.from({ length: 6000 }, (_, i) => `row ${i + 1}\n`).join(""));
    }],
    ["the page of a task is told what changes, and asks less meanwhile", async () => {
      const held = await stack.create("nobody", {}, { start: false });
      const isWatch = (answer) => answer.url().endsWith("/api/watch") && answer.status() === 200;
      const [watched] = await Promise.all([p.page.waitForResponse(isWatch), p.task(held)]);
      assert.deepEqual(watched.request().postDataJSON(), { data: { task_id: held } });
      await p.page.waitForResponse((answer) => answer.url().endsWith("/api/timeline_task")); // from here on it asks every 20 s
      await stack.ask("start_task", { task_id: held });
      await p.badge("waiting", { timeout: TOLD_MS });
      await stack.ask("cancel_task", { task_id: held });
      await p.badge("failed", { timeout: TOLD_MS });
    }],
    ["where it cannot watch it asks", async () => {
      await p.page.route("**/api/watch", (route) => route.fulfill({ status: 503, contentType: "application/json", body: '{"result":"exception","message":"no room","code":"OVERLOADED"}' }));
      const held = await stack.create("nobody", {}, { start: false });
      await p.task(held);
      await p.badge("ready");
      await stack.ask("start_task", { task_id: held });
      await p.badge("waiting");
      await stack.ask("cancel_task", { task_id: held });
      await p.badge("failed");
      await p.page.unroute("**/api/watch");
      p.quiet(/503/);
    }],
    ["a failed task says why, as text; ends with its run's last words", async () => {
      const failed = await stack.create("fails", {});
      await p.task(failed);
      await p.badge("failed");
      assert.equal(await p.text("#error pre"), MARKUP);
      await p.see("#timeline .how.failed", "error");
    }],
    ["a task whose end was never confirmed starts again only by force", async () => {
      const lost = await stack.create("nobody", {});
      await stack.ask("update_status_task", { task_id: lost, status: "running" });
      await stack.ask("cancel_task", { task_id: lost });
      await p.task(lost);
      await p.see("#view .heading small", "kill unconfirmed");
      await p.page.click("#do-start");
      await p.dialog("button[type=submit]").click();
      assert.equal(await p.count("dialog[open]"), 1);
      await p.page.check("#start-force");
      await p.confirm();
      await p.badge("waiting");
      assert.equal((await stack.statusOf(lost)).status, "waiting");
    }],
    ["a deleted task is gone from the list, and its page says so", async () => {
      await p.task(task);
      await p.page.click("#do-delete");
      await p.confirm();
      await p.see("#view .filters");
      assert.equal((await stack.statusOf(task)).sub_status, "removed");
      await p.go(`task/${task}`);
      await p.see("#gone", "was removed");
      await p.go("task/ts_echo_nothing");
      await p.see("#gone", "no such task");
      p.quiet(/404|410|409/);
    }],
  ];
}
