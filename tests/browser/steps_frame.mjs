// The frame and the other pages: token, overview and charts, services, consumers, keyboard, languages, colours, width, accessibility.
import assert from "node:assert/strict";
import { until } from "./stack.mjs";

export function first({ page: p, stack }) {
  return [
    ["the page asks for a token and shows nothing without", async () => {
      await p.page.goto(stack.address);
      await p.see("#enter");
      assert.equal(await p.count("#top nav"), 0);
    }],
    ["a wrong token is refused in words", async () => {
      await p.page.fill("#token", "wrong");
      await p.page.click("#enter button");
      await p.see("#enter .problem", "does not take this token");
      assert.equal(await p.page.evaluate(() => sessionStorage.length), 0);
      p.quiet(/401/);
    }],
    ["the right one shows the overview, and how to make the first task; it is in the session only", async () => {
      await p.page.fill("#token", stack.token);
      await p.page.click("#enter button");
      await p.see("#empty");
      assert.ok((await p.text("#example")).includes(`${stack.address}/api/create_task`));
      assert.deepEqual(await p.page.locator("#counts tbody th a").allTextContents(), Object.keys(stack.services));
      assert.equal(await p.page.evaluate(() => JSON.stringify(localStorage) + document.cookie), "{}");
      await p.picture("empty");
    }],
  ];
}

export function pages({ page: p, stack }) {
  const count = (service, status) => p.text(`#counts [data-service=${service}] [data-status=${status}]`);
  const service = (name) => p.page.locator(`.service[data-service=${name}]`);
  return [
    ["the overview counts by service, and its numbers lead to their tasks", async () => {
      await p.go("overview");
      await p.see("#failures tr");
      await until("one failed", async () => (await count("fails", "failed")) === "1");
      assert.equal(await p.page.locator("#failures .message").first().getAttribute("title"), "no disk");
      await p.page.click("#counts [data-service=fails] [data-status=failed] a");
      await p.see("#total", "1 task");
      assert.match(await p.hash(), /service=fails&status=failed/);
    }],
    ["charts show what went through, for all services and for one", async () => {
      await p.go("overview?span=900");
      const told = () => p.page.locator(".chart .plot").first().getAttribute("aria-label");
      await until("a step of history", async () => /created \d/.test(await told()));
      assert.equal(await p.count(".chart canvas"), 4);
      // What is grey is the grid: durations are drawn, also where only one step has any.
      const coloured = () => p.page.locator(".chart canvas").nth(3).evaluate((canvas) => {
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return data.filter((_, i) => i % 4 === 0 && Math.max(data[i], data[i + 1], data[i + 2]) - Math.min(data[i], data[i + 1], data[i + 2]) > 90).length;
      });
      await until("durations", async () => (await coloured()) > 0);
      assert.equal(await p.page.inputValue("#span"), "900");
      const { services } = await stack.ask("history_task", { span_s: 900 });
      const sum = (name) => services[name].failed.reduce((all, one) => all + (one ?? 0), 0);
      assert.ok(sum("batch") > 0);
      await p.page.selectOption("#history-service", "echo");
      await until("in the URL", async () => /span=900&service=echo/.test(await p.hash()));
      await p.picture("overview");
    }],
    ["a service is paused, which the overview tells, and resumed", async () => {
      await p.go("services");
      await service("nobody").locator(".toggle").click();
      await p.confirm();
      await service("nobody").locator(".tag.paused").waitFor();
      await p.go("overview");
      await p.see(".attention", "nobody is paused; 1 waiting");
      await p.page.click(".attention a");
      await service("nobody").locator(".toggle", { hasText: "Resume" }).click();
      await service("nobody").locator(".toggle", { hasText: "Pause" }).waitFor();
    }],
    ["its limits are set, refused and taken away", async () => {
      await service("echo").locator("button.limits").click();
      await p.page.fill("#l-max_running", "3");
      await p.page.fill("#l-max_waiting", "1.5");
      await p.dialog("button[type=submit]").click();
      assert.equal(await p.count("dialog[open]"), 1);
      await p.page.fill("#l-max_waiting", "100");
      await p.confirm();
      await service("echo").locator("dd", { hasText: /^3$/ }).waitFor();
      const [echo] = (await stack.ask("service_task", { detail: true })).data;
      assert.deepEqual(echo.limits, { max_running: 3, max_waiting: 100 });
      await service("echo").locator("button.limits").click();
      await p.page.fill("#l-max_running", "");
      await p.page.fill("#l-max_waiting", "");
      await p.confirm();
      await until("no limit", async () => (await service("echo").locator("dd", { hasText: "no limit" }).count()) === 2);
    }],
    ["consumers show their slots and what runs in them", async () => {
      const talk = await stack.create("talks", { lines: 100 });
      await p.go("workers");
      await p.see(`.worker [data-task="${talk}"] progress`);
      const worker = p.page.locator(".worker", { has: p.page.locator(`[data-task="${talk}"]`) });
      assert.equal(await worker.locator(".slots i.busy").count(), 1);
      assert.match(await worker.locator(".seen").textContent(), /pid \d+ · seen/);
      await stack.ask("cancel_task", { task_id: talk, grace_s: 0.1 });
      await until("gone", async () => (await p.count(`[data-task="${talk}"]`)) === 0);
      p.quiet();
    }],
  ];
}

// Tokens beside AUTH_TOKEN, which are their own names, and their scopes.
export const TOKENS = { reads: ["read"], makes: ["create", "read"], writes: ["create"] };

export function tokens({ page: p, stack }) {
  const visible = () => p.page.locator("[data-needs]:visible").evaluateAll((all) => [...new Set(all.map((one) => one.id || one.className))].sort());
  const enter = async (token) => {
    if (await p.count("#leave")) await p.page.click("#leave");
    await p.page.fill("#token", token);
    await p.page.click("#enter button");
  };
  const shows = (what) => until(`only ${what}`, async () => JSON.stringify(await visible()) === JSON.stringify(what));
  return [
    ["a token sees the actions that its scopes allow", async () => {
      p.faults.length = 0; // of the API that was away
      const [failed] = await stack.createFailed("batch", 1);
      const all = { tasks: ["bulk"], [`task/${failed}`]: ["do-edit", "do-like", "do-start"], services: [] };
      for (const [token, of] of [["reads", []], ["makes", ["create"]]]) {
        await enter(token);
        for (const [where, what] of Object.entries(all)) {
          await p.go(where);
          await p.see("#view .card:visible");
          await shows(of.length ? ["create", ...what].sort((a, b) => (a < b ? -1 : 1)) : []);
        }
      }
      await enter("reads");
      await p.task(failed);
      await shows([]);
      for (const key of ["n", "s", "e"]) await p.page.keyboard.press(key);
      assert.equal(await p.count("dialog"), 0);
      await enter(stack.token);
      await p.task(failed);
      await shows(["create", "do-delete", "do-edit", "do-like", "do-start"]);
    }],
    ["one that may not read is told so", async () => {
      await enter("writes");
      await p.see("#enter .problem", "the token writes lacks the scope read");
      await p.page.fill("#token", stack.token);
      await p.page.click("#enter button");
      await p.see("#top nav");
      p.quiet(/403/);
    }],
    ["an address that is no text of an address is shown as what it is", async () => {
      await p.go("task/%zz");
      await p.see("#gone", "no such task");
      p.quiet();
    }],
  ];
}

export function ways({ page: p, stack, away }) {
  const WHERE = ["overview", "tasks?service=batch", "services", "workers"];
  let task;
  return [
    ["everything is reached by the keyboard", async () => {
      await p.go("overview");
      await p.page.keyboard.press("g");
      await p.page.keyboard.press("t");
      await p.see("#rows tr");
      await p.page.keyboard.press("j");
      await p.page.keyboard.press("j");
      const second = await p.page.locator("#rows tr").nth(1).getAttribute("data-task");
      assert.ok((await p.page.evaluate(() => document.activeElement.href)).includes(second));
      await p.page.keyboard.press("Enter");
      await p.see("#view .heading .badge");
      await p.page.keyboard.press("?");
      await p.see("dialog[open] kbd", "g");
      await p.escape();
      await p.page.keyboard.press("n");
      await p.see("dialog[open] #c-condition");
      await p.escape();
      await p.page.keyboard.press("g");
      await p.page.keyboard.press("t");
      await p.see("#f-id");
      await p.page.keyboard.press("/");
      assert.equal(await p.page.evaluate(() => document.activeElement.id), "f-id");
      await p.page.keyboard.type("gs"); // in a field letters are letters
      assert.match(await p.hash(), /^#\/tasks/);
      await p.page.click("#clear");
    }],
    ["the focus is seen, and Tab goes from the skip link to the page", async () => {
      await p.page.reload();
      await p.see("#rows tr");
      await p.page.keyboard.press("Tab");
      assert.equal(await p.page.evaluate(() => document.activeElement.id), "skip");
      await p.page.keyboard.press("Enter");
      assert.equal(await p.page.evaluate(() => document.activeElement.id), "view");
      await p.page.keyboard.press("Tab");
      const outline = await p.page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
      assert.equal(outline, "solid");
    }],
    ["axe finds nothing serious on any page, light and dark, nor in a dialog", async () => {
      task = (await stack.ask("tasks", { service: "talks", p_size: 1 })).data[0].task_id;
      const found = [];
      for (const colorScheme of ["light", "dark"]) {
        await p.page.emulateMedia({ colorScheme });
        for (const where of [...WHERE, `task/${task}`, "task/none"]) {
          await p.go(where);
          await p.see("#view .card:visible, #gone:visible");
          await p.page.waitForTimeout(150);
          found.push(...(await p.axe(`${where} ${colorScheme}`)));
        }
        await p.page.keyboard.press("n");
        await p.has("dialog[open] #c-service option");
        found.push(...(await p.axe(`create ${colorScheme}`)));
        await p.escape();
      }
      assert.deepEqual(found, []);
    }],
    ["no page is wider than a phone", async () => {
      const tagged = await stack.create("nobody", {}, { start: false, tags: { [`k${"y".repeat(63)}`]: "v".repeat(200) } });
      await p.page.setViewportSize({ width: 360, height: 740 });
      for (const where of [...WHERE, `task/${tagged}`, `task/${task}`]) {
        await p.go(where);
        await p.see("#view .card:visible");
        await p.page.waitForTimeout(150);
        assert.equal(await p.page.evaluate(() => document.documentElement.scrollWidth), 360, where);
        await p.picture(`phone-${where.split(/[?/]/)[0]}`);
      }
      await p.page.setViewportSize({ width: 1280, height: 860 });
    }],
    ["the colours are switched against the system's, and remembered", async () => {
      await p.page.emulateMedia({ colorScheme: "light" });
      const back = () => p.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      const light = await back();
      await p.page.click("#theme");
      assert.equal(await back(), light);
      await p.page.click("#theme");
      assert.notEqual(await back(), light);
      await p.page.reload();
      await p.see("#view .card:visible");
      assert.notEqual(await back(), light);
      await p.page.click("#theme");
      assert.equal(await back(), light);
    }],
    ["Chinese is one click away, everywhere, and remembered", async () => {
      await p.page.click("#language");
      await p.page.reload();
      await p.see("#top nav", "概览");
      assert.equal(await p.page.evaluate(() => document.documentElement.lang), "zh-CN");
      assert.deepEqual(await p.page.locator("#top nav a").allTextContents(), ["概览", "任务", "服务", "消费者"]);
      for (const where of [...WHERE, `task/${task}`]) {
        await p.go(where);
        await p.see("#view .card:visible");
        assert.match(await p.text("#view"), /[\u4e00-\u9fff]{2}/, where);
      }
      await p.see(".heading .badge.failed", "失败");
      await p.picture("chinese");
      await p.page.click("#language");
      await p.see("#top nav", "Overview");
    }],
    ["it broke no rule of its content security policy, and asked nobody else", async () => p.quiet(/404/)],
    ["an API that is away is told, what was shown stays, and it goes on by itself", async () => {
      await p.go("tasks?service=batch");
      await p.see("#rows tr");
      const before = await p.count("#rows tr");
      await stack.stop("consumer");
      await stack.stop("api");
      await p.see("#banner", "does not answer");
      assert.equal(await p.count("#rows tr"), before);
      await p.page.keyboard.press("n");
      await p.see("dialog[open] #c-condition");
      await stack.start("api");
      await p.has("dialog[open] #c-service option[value=batch]");
      assert.equal(await p.page.inputValue("#c-service"), "batch");
      await p.escape();
      await p.page.locator("#banner").waitFor({ state: "hidden" });
      const late = await stack.create("batch", { late: true });
      await p.see(`#rows tr[data-task="${late}"]`);
    }],
    ["forgetting the token leaves nothing", async () => {
      await p.page.click("#leave");
      await p.see("#enter");
      assert.equal(await p.count("#tasks"), 0);
      assert.equal(await p.page.evaluate(() => sessionStorage.length), 0);
    }],
  ];
}
