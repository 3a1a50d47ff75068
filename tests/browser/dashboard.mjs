// dashboard.mjs BUILD SCREENSHOTS: the page at GET / in a real browser, before a running stack.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { chromium } from "playwright-core";
import { Stack, until } from "./stack.mjs";

const [build, pictures] = process.argv.slice(2).map((path) => resolve(path));
const markup = "<b>no input</b>";
const stack = new Stack(build, {
  echo: "printf '{\"result\": 1}\\n' >&3",
  fails: `printf '{"error": {"class": "fatal", "text": "${markup}"}}\\n' >&3`,
});
const faults = []; // what the browser complained about
let page;

const row = (task) => page.locator(`#tasks tr[data-task="${task}"]`);
const count = (service, status) =>
  page.locator("#counts tbody tr", { has: page.locator("th", { hasText: service }) }).locator(`[data-status=${status}]`);
const picture = (name) => page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });

// The row and its badge, once it says so.
const shows = (task, status) => row(task).locator(".badge", { hasText: status }).waitFor();

async function enter(token) {
  await page.fill("#token", token);
  await page.click("#enter button");
}

let waiting;
const steps = [
  ["the page asks for a token and shows nothing without", async () => {
    await page.goto(stack.address);
    await page.locator("#enter").waitFor();
    assert.equal(await page.locator("#data").isVisible(), false);
  }],
  ["a wrong token is refused in words", async () => {
    await enter("wrong");
    await page.locator("#problem", { hasText: "does not take this token" }).waitFor();
    assert.equal(await page.evaluate(() => sessionStorage.length), 0);
    faults.length = 0; // the browser logs the 401
  }],
  ["the right one shows the services, and how to make the first task", async () => {
    await enter(stack.token);
    await page.locator("#empty").waitFor();
    assert.match(await page.locator("#example").textContent(), new RegExp(`${stack.address}/api/create_task`));
    assert.deepEqual(await page.locator("#counts tbody th").allTextContents(), ["echo", "fails"]);
    await picture("empty");
  }],
  ["a created task appears by itself, waiting", async () => {
    waiting = await stack.create("echo", { n: 1 });
    await shows(waiting, "waiting");
    await until("one waiting", async () => (await count("echo", "waiting").textContent()) === "1");
    assert.equal(await page.locator("#empty").isVisible(), false);
  }],
  ["it ends when a consumer runs it", async () => {
    await stack.start("consumer");
    await shows(waiting, "finished");
    await until("one finished", async () => (await count("echo", "finished").textContent()) === "1");
    assert.equal(await count("echo", "waiting").textContent(), "0");
  }],
  ["a failed task says why, as text", async () => {
    const failed = await stack.create("fails", {});
    await shows(failed, "failed");
    assert.equal(await row(failed).locator(".message").textContent(), markup);
  }],
  ["no more than the newest twenty are listed, newest first", async () => {
    let last;
    for (let i = 0; i < 25; i++) last = await stack.create("echo", { i });
    await until("all finished", async () => (await count("echo", "finished").textContent()) === "26");
    assert.equal(await page.locator("#tasks tbody tr").count(), 20);
    assert.equal(await page.locator("#tasks tbody tr").first().getAttribute("data-task"), last);
    await picture("light");
    await page.emulateMedia({ colorScheme: "dark" });
    await picture("dark");
  }],
  ["a reload keeps the token", async () => {
    await page.reload();
    await page.locator("#tasks tbody tr").first().waitFor();
  }],
  ["it breaks no rule of its content security policy", async () => {
    assert.deepEqual(faults, []);
  }],
  ["an API that is away is told, and what was shown stays", async () => {
    await stack.stop("consumer");
    await stack.stop("api");
    await page.locator("#problem", { hasText: "does not answer" }).waitFor();
    assert.equal(await page.locator("#tasks tbody tr").count(), 20);
    await picture("away");
  }],
  ["it goes on by itself when the API is back", async () => {
    await stack.start("api");
    await page.locator("#state.up").waitFor();
    assert.equal(await page.locator("#problem").isVisible(), false);
  }],
  ["forgetting the token leaves nothing", async () => {
    await page.click("#leave");
    await page.locator("#enter").waitFor();
    assert.equal(await page.locator("#data").isVisible(), false);
    assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  }],
];

function watch(opened) {
  opened.setDefaultTimeout(15000);
  opened.on("console", (message) => message.type() === "error" && faults.push(message.text()));
  opened.on("pageerror", (error) => faults.push(String(error)));
  opened.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(stack.address) && !url.startsWith("data:")) faults.push(`asked for ${url}`);
  });
  return opened;
}

async function run() {
  let passed = 0, failed = 0;
  for (const [name, step] of steps) {
    try {
      await step();
      passed++;
      console.log(`ok      ${name}`);
    } catch (error) {
      failed++;
      console.log(`FAILED  ${name}\n${error.stack}`);
      break; // the steps build on one another
    }
  }
  const left = steps.length - passed - failed;
  console.log(`browser: ${passed} passed, ${failed} failed, ${left} not reached`);
  return failed;
}

mkdirSync(pictures, { recursive: true });
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
try {
  await stack.start("api");
  page = watch(await browser.newPage({ viewport: { width: 1200, height: 800 }, colorScheme: "light" }));
  process.exitCode = (await run()) ? 1 : 0;
} finally {
  await browser.close();
  await stack.close();
}
