// stack.mjs: an API and a consumer of a build folder, in a folder of their own.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, openSync, closeSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const READY_MS = 30000;
const STOP_MS = 20000;

// Asks until the answer is truthy.
export async function until(what, ask, ms = 15000) {
  const end = Date.now() + ms;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`never: ${what}`);
    await sleep(50);
  }
}

export class Stack {
  constructor(build, services) {
    this.build = build;
    this.services = services;
    this.folder = mkdtempSync(join(tmpdir(), "longhaul-browser-"));
    this.token = randomBytes(16).toString("hex");
    this.processes = {};
    this.listen = "127.0.0.1:0";
  }

  configure() {
    const module = Object.fromEntries(
      Object.entries(this.services).map(([name, script]) => [name, { kind: "command", command: ["/bin/sh", "-c", script] }]),
    );
    const config = { default_env: "TEST", service: Object.keys(this.services), listen: this.listen, module,
                     store: "sqlite:longhaul.db", broker: "none" };
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
    if (name === "api") {
      this.address = JSON.parse(line).address;
      this.listen = this.address.replace("http://", "");
    }
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

  async create(service, condition) {
    const answer = await fetch(`${this.address}/api/create_task`, {
      method: "POST",
      headers: { Authorization: this.token, "Content-Type": "application/json" },
      body: JSON.stringify({ data: { service, condition } }),
    });
    return (await answer.json()).task_id;
  }
}
