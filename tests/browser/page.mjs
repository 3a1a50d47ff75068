// page.mjs: the page in Chromium, what it complains about, and how the tests move in it.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const STEP_MS = 60000;
export const TOLD_MS = 15000; // before the page would ask by itself

export class Page {
  constructor(stack, pictures) {
    this.stack = stack;
    this.pictures = pictures;
    this.faults = []; // what the browser complained about
    mkdirSync(pictures, { recursive: true });
  }

  async open() {
    this.browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"], timeout: 2 * STEP_MS });
    const context = await this.browser.newContext({ viewport: { width: 1280, height: 860 }, colorScheme: "light", locale: "en-GB", acceptDownloads: true });
    this.page = await context.newPage();
    this.page.setDefaultTimeout(STEP_MS);
    this.page.on("console", (message) => message.type() === "error" && this.faults.push(message.text()));
    this.page.on("pageerror", (error) => this.faults.push(error.stack ?? String(error)));
    this.page.on("request", (request) => {
      const url = request.url();
      if (!url.startsWith(this.stack.address) && !/^(data|blob):/.test(url)) this.faults.push(`asked for ${url}`);
    });
    return this.page;
  }

  close = () => this.browser?.close();
  go = (where) => this.page.evaluate((hash) => (location.hash = hash), `#/${where}`);
  hash = () => this.page.evaluate(() => location.hash);
  see = (selector, text, more) => this.page.locator(selector, text === undefined ? undefined : { hasText: text }).first().waitFor(more);
  has = (selector) => this.page.locator(selector).first().waitFor({ state: "attached" });
  count = (selector) => this.page.locator(selector).count();
  text = (selector) => this.page.locator(selector).first().textContent();
  badge = (status, more) => this.see(`#view .heading .badge.${status}`, undefined, more);
  picture = (name) => this.page.screenshot({ path: join(this.pictures, `${name}.png`) });
  dialog = (selector) => this.page.locator(`dialog[open] ${selector}`);

  async task(id) {
    await this.go(`task/${id}`);
    await this.see("#view .heading .badge");
  }

  async escape() {
    await this.page.keyboard.press("Escape");
    await this.page.locator("dialog").waitFor({ state: "detached" });
  }

  async confirm() {
    await this.dialog("button[type=submit]").click();
    await this.page.locator("dialog[open]").waitFor({ state: "detached" });
  }

  // Serious and critical findings of axe, as one text each.
  async axe(where) {
    const { violations } = await this.page.evaluate(`${axe}; axe.run(document, { resultTypes: ["violations"] })`);
    return violations.filter(({ impact }) => impact === "serious" || impact === "critical")
      .map(({ id, nodes }) => `${where}: ${id}: ${nodes.map((node) => node.html).join(" | ").slice(0, 400)}`);
  }

  // Nothing that the browser complained about since the last look.
  quiet(allowed = /^$/) {
    const faults = this.faults.filter((fault) => !allowed.test(fault));
    this.faults.length = 0;
    assert.deepEqual(faults, []);
  }
}
