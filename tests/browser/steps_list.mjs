// The list of tasks: filters in the URL, pages by cursor, rows that stay in place, the retry of a filter.
import assert from "node:assert/strict";
import { TOLD_MS } from "./page.mjs";
import { until } from "./stack.mjs";

const MANY = 130; // more than two pages

export default function steps({ page: p, stack }) {
  const rows = () => p.page.locator("#rows tr").evaluateAll((all) => all.map((row) => row.dataset.task));
  const shown = (ids) => until(`rows ${ids}`, async () => JSON.stringify(await rows()) === JSON.stringify(ids));
  const settled = (pattern) => until(`URL ${pattern}`, async () => pattern.test(await p.hash()));
  let ids, special;

  return [
    ["a list is filtered by service and status; the filter stands in the URL and survives a reload", async () => {
      ids = await stack.createFailed("batch", MANY);
      special = await stack.create("batch", { special: true }, { tags: { team: "red", "a=b": "c,d" }, start: false });
      await p.go("tasks");
      await p.has("#f-service option[value=batch]");
      await p.page.selectOption("#f-service", "batch");
      await p.page.check("input[name=status][value=failed]");
      await settled(/service=batch&status=failed/);
      await p.see("#total", `${MANY} tasks`);
      await p.page.reload();
      await p.see("#total", `${MANY} tasks`);
      assert.equal(await p.page.inputValue("#f-service"), "batch");
      assert.ok(await p.page.isChecked("input[name=status][value=failed]"));
      await shown([...ids].reverse().slice(0, 50));
    }],
    ["pages follow by cursor, also after a reload, and back", async () => {
      await p.page.click("#older");
      await shown([...ids].reverse().slice(50, 100));
      await p.page.reload();
      await shown([...ids].reverse().slice(50, 100));
      await p.page.keyboard.press("]");
      await shown([...ids].reverse().slice(100));
      assert.equal(await p.page.getAttribute("#older", "aria-disabled"), "true");
      await p.page.keyboard.press("[");
      await shown([...ids].reverse().slice(50, 100));
      await p.page.goBack();
      await shown([...ids].reverse().slice(100));
      await p.page.click("#newest");
      await shown([...ids].reverse().slice(0, 50));
    }],
    ["going back fills the field that was typed in, though it has the focus", async () => {
      await p.go("tasks");
      await p.has("#f-service option[value=batch]");
      await p.page.selectOption("#f-service", "batch");
      await p.page.check("input[name=status][value=failed]");
      await p.page.fill("#f-id", "ts_nothing");
      await settled(/service=batch&status=failed&task_id=ts_nothing$/);
      await p.page.goBack();
      await settled(/service=batch$/);
      await until("an empty field", async () => (await p.page.inputValue("#f-id")) === "");
      await p.go("tasks?service=batch&status=failed");
      await shown([...ids].reverse().slice(0, 50));
    }],
    ["sub_status, tags, id and times filter too", async () => {
      await p.page.selectOption("#f-sub", "error");
      await settled(/sub_status=error/);
      await p.see("#total", `${MANY} tasks`);
      await p.page.click("#clear");
      await settled(/^#\/tasks$/);
      await p.page.fill("#f-tags", "team=red, a\\=b=c\\,d");
      await shown([special]);
      assert.match(decodeURIComponent(await p.hash()), /tags=team=red/);
      await p.page.fill("#f-tags", "team");
      await p.see("#view .problem", "Tags read as");
      await p.page.click("#clear");
      await p.page.fill("#f-id", special.slice(0, -1));
      await shown([special]);
      await p.page.fill("#f-id", "ts_nothing");
      await p.see("#nothing", "No task is like that");
      await p.page.click("#clear");
      await p.page.fill("#f-from", "2020-01-01T00:00");
      await p.page.fill("#f-to", "2020-01-02T00:00");
      await p.see("#nothing", "No task is like that");
      await settled(/from=2020-01-01.*to=2020-01-02/);
      await p.page.reload();
      await p.see("#nothing", "No task is like that");
      assert.equal(await p.page.inputValue("#f-from"), "2020-01-01T00:00");
    }],
    ["a row changes in place, without a new element and without losing the focus", async () => {
      await p.go("tasks?service=batch&status=ready&status=failed");
      const row = p.page.locator(`#rows tr[data-task="${special}"]`);
      await row.locator("a").focus();
      await row.evaluate((node) => (node.mine = true));
      await p.go("tasks?service=batch");
      await stack.ask("start_task", { task_id: special });
      await row.locator(".badge.waiting").waitFor();
      assert.equal(await row.evaluate((node) => node.mine), true);
      assert.equal(await row.locator("a").evaluate((node) => node === document.activeElement), true);
    }],
    ["a list that is dear to ask for is told what becomes of its tasks", async () => {
      const held = await stack.create("nobody", {}, { start: false, tags: { list: "dear" } });
      const [watched] = await Promise.all([p.page.waitForResponse((answer) => answer.url().endsWith("/api/watch")), p.go("tasks?tags=list%3Ddear")]);
      assert.deepEqual(watched.request().postDataJSON(), { data: { task_id: [held] } });
      await stack.ask("start_task", { task_id: held }); // the list itself is asked for every 30 s
      await p.see(`#rows tr[data-task="${held}"] .badge.waiting`, undefined, { timeout: TOLD_MS });
      await stack.ask("cancel_task", { task_id: held });
      await p.see(`#rows tr[data-task="${held}"] .badge.failed`, undefined, { timeout: TOLD_MS });
    }],
    ["the retry of a filter tells the count before, and starts them all over every page", async () => {
      await stack.ask("pause_service_task", { service: "batch" });
      await p.go("tasks?service=batch");
      await p.page.click("#bulk");
      await p.see("#bulk-count", `${MANY} failed tasks`);
      await p.dialog("button[type=submit]").click();
      await p.see("#bulk-end", "Done.");
      assert.match(await p.text("#bulk-words"), new RegExp(`^${MANY} started, 0 passed over, 0 refused, of ${MANY}$`));
      await p.escape();
      const { total } = await stack.ask("tasks", { service: "batch", status: "waiting", p_size: 1 });
      assert.equal(total, MANY + 1);
    }],
    ["a retry is stopped in the middle, and what is refused is told", async () => {
      await stack.createFailed("batch", 400);
      await p.go("tasks?service=batch&status=failed");
      await p.see("#total", "400 tasks");
      let started = 0, goOn;
      const stopped = new Promise((resolve) => (goOn = resolve));
      await p.page.route("**/api/start_task", async (route) => {
        if (++started === 3) return route.fulfill({ status: 409, contentType: "application/json", body: '{"result":"exception","message":"it will not","code":"NOT_DUE"}' });
        if (started > 5) await stopped;
        return route.continue();
      });
      await p.page.click("#bulk");
      await p.see("#bulk-count", "400 failed tasks");
      await p.dialog("button[type=submit]").click();
      await p.see("dialog[open] .failures", "it will not");
      await p.page.click("#bulk-stop");
      goOn();
      await p.see("#bulk-end", "Stopped.");
      await p.page.unroute("**/api/start_task");
      const { total } = await stack.ask("tasks", { service: "batch", status: "failed", p_size: 1 });
      assert.ok(total > 0 && total < 400, String(total));
      await p.escape();
      await stack.ask("resume_service_task", { service: "batch" });
      p.quiet(/409/);
    }],
  ];
}
