// dashboard.mjs BUILD SCREENSHOTS: the page at GET / in a real browser, before a running stack.
import { createHash } from "node:crypto";
import { resolve } from "node:path";
import { Page } from "./page.mjs";
import { Stack } from "./stack.mjs";
import { TOKENS, first, pages, tokens, ways } from "./steps_frame.mjs";
import listSteps from "./steps_list.mjs";
import moduleSteps from "./steps_modules.mjs";
import taskSteps, { MARKUP } from "./steps_task.mjs";

const [build, pictures] = process.argv.slice(2).map((path) => resolve(path));
const hashOf = (token) => `sha256:${createHash("sha256").update(token).digest("hex")}`;
const lines = `i=0; while [ $i -lt 600 ]; do i=$((i + 1)); echo "line $i"; echo "to stderr $i" >&2
  printf '{"progress": {"done": %d, "total": 600, "text": "lines"}}\\n' $i >&3; sleep 0.3; done`;
const stack = new Stack(build, {
  echo: "printf '{\"result\": {\"echo\": 1}}\\n' >&3",
  talks: lines,
  long: "seq 6000 | sed 's/^/row /'; printf '{\"result\": 1}\\n' >&3",
  fails: `printf '{"error": {"class": "fatal", "text": "${MARKUP}"}}\\n' >&3`,
  batch: null,
  nobody: null,
}, { kill_max_s: 1, lease_s: 3, tokens: Object.entries(TOKENS).map(([name, scopes]) => ({ name, scopes, hash: hashOf(name) })) });

const page = new Page(stack, pictures);
const world = { page, stack };
const steps = [moduleSteps, first, taskSteps, listSteps, pages, ways, tokens].flatMap((group) => group(world));

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
      await page.picture("failed").catch(() => {});
      break; // the steps build on one another
    }
  }
  const left = steps.length - passed - failed;
  console.log(`browser: ${passed} passed, ${failed} failed, ${left} not reached`);
  return failed;
}

try {
  await stack.start("api");
  await page.open();
  process.exitCode = (await run()) ? 1 : 0;
} finally {
  await page.close();
  await stack.close();
}
