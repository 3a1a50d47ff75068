// stack.mjs: an API and a consumer of a build folder, in a folder of their own.
import { execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, openSync, closeSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const SERVICES = fileURLToPath(new URL("../services/services.py", import.meta.url));
const READY_MS = 60000;
const STOP_MS = 20000;

// Asks until the answer is truthy.
export async function until(what, ask, ms = 60000) {
  const end = Date.now() + ms;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`never: ${what}`);
    await sleep(50);
  }
}

export class Stack {
  // services: by name, the shell script that is the module; null: no consumer runs it.
  constructor(build, services, more = {}) {
    this.build = build;
    this.services = services;
    this.more = more;
    this.folder = mkdtempSync(join(tmpdir(), "longhaul-browser-"));
    this.token = randomBytes(16).toString("hex");
    this.processes = {};
    // A port that no outgoing connection can have taken when the API wants it again.
    this.listen = `127.0.0.1:${execFileSync("python3", [SERVICES, "port"], { encoding: "utf8" }).trim()}`;
  }

  configure() {
    const module = Object.fromEntries(
      Object.entries(this.services).filter(([, script]) => script)
        .map(([name, script]) => [name, { kind: "command", command: ["/bin/sh", "-c", script] }]),
    );
    const config = { default_env: "TEST", service: Object.keys(this.services), listen: this.listen, module,
                     store: "sqlite:longhaul.db", broker: "none", ...this.more };
    writeFileSync(join(this.folder, "config.yaml"), JSON.stringify(config));
  }

  async start(name) {
    this.configure();
    const log = join(this.folder, `${name}.log`);
    const out = openSync(log, "w");
    const process_ = spawn(join(this.build, name, `longhaul-${name}`), ["--config", join(this.folder, "config.yaml")], {
      stdio: ["ignore", out, out],
      env: { ...process.env, AUTH_TOKEN: this.token },
    });
    closeSync(out);
    this.processes[name] = process_;
    const line = await until(`${name} ready`, () => {
      const text = readFileSync(log, "utf8");
      if (process_.exitCode !== null) throw new Error(`${name} ended:\n${text}`);
      return text.split("\n").find((one) => one.includes('"msg":"ready"'));
    }, READY_MS);
    if (name === "api") this.address = JSON.parse(line).address;
  }

  async stop(name) {
    const process_ = this.processes[name];
    delete this.processes[name];
    if (!process_ || process_.exitCode !== null) return;
    const ended = new Promise((resolve) => process_.once("exit", resolve));
    process_.kill("SIGTERM");
    const killer = setTimeout(() => process_.kill("SIGKILL"), STOP_MS);
    await ended;
    clearTimeout(killer);
  }

  async close() {
    await this.stop("consumer");
    await this.stop("api");
    rmSync(this.folder, { recursive: true, force: true });
  }

  // The answer's text: what the page must not change is looked at as it is.
  async askText(route, data) {
    const answer = await fetch(`${this.address}/api/${route}`, {
      method: "POST",
      headers: { Authorization: this.token, "Content-Type": "application/json" },
      body: JSON.stringify({ data }),
    });
    return answer.text();
  }

  async ask(route, data) {
    const answer = JSON.parse(await this.askText(route, data));
    if (answer.result !== "ok") throw new Error(`${route}: ${answer.message}`);
    return answer;
  }

  create = async (service, condition, more = {}) => (await this.ask("create_task", { service, condition, ...more })).task_id;

  // Many tasks, which a worker of this test has failed.
  async createFailed(service, n, more = {}) {
    const { data } = await this.ask("create_task", Array.from({ length: n }, (_, i) => ({ service, condition: { i }, ...more })));
    const ids = data.map((one) => one.task_id);
    await this.ask("update_status_task", ids.map((task_id) => ({ task_id, status: "failed", message: "no disk", error: { class: "fatal", text: "no disk" } })));
    return ids;
  }

  statusOf = async (task_id) => (await this.ask("status_task", [{ task_id }])).status[0];
}
