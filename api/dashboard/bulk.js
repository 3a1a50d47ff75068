// Starts again every failed task of a filter: shows how many there are before, how far it is while it runs, and stops when told.
import { ask, isPassing } from "./api.js";
import { openDialog } from "./dialogs.js";
import { h, setText } from "./dom.js";
import { toBody } from "./filters.js";
import { number, shorten } from "./format.js";
import { t } from "./i18n.js";

const PAGE = 200;
const AT_ONCE = 4;
const SHOWN = 20;
const AGAIN_MS = 1000;
const TRIES = 30;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Calls again while the API is away or asks to come later.
async function patiently(run, call) {
  for (let n = 1; ; n++) {
    try {
      return await call();
    } catch (problem) {
      if (!isPassing(problem) || n === TRIES || run.stopped) throw problem;
      await sleep(problem.retryAfterMs || AGAIN_MS);
    }
  }
}

async function startOne(run, task) {
  const force = run.force && task.sub_status === "kill_unconfirmed";
  try {
    await patiently(run, () => ask("start_task", { task_id: task.task_id, ...(force ? { force: true } : {}) }));
    run.started++;
  } catch (problem) {
    if (problem.code === "ALREADY_QUEUED" || problem.code === "TASK_REMOVED" || problem.code === "UNKNOWN_TASK") run.passed++;
    else run.failures.push({ id: task.task_id, text: problem.message });
  }
  run.onStep();
}

async function startPage(run, tasks) {
  let at = 0;
  const lane = async () => {
    while (at < tasks.length && !run.stopped) await startOne(run, tasks[at++]);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}

// From the newest on to the oldest, so tasks that are created meanwhile are not met, and none is met twice.
export async function startAll(run) {
  let after;
  do {
    const page = await patiently(run, () => ask("tasks", { ...run.body, ...(after ? { after } : {}), p_size: PAGE, fields: ["task_id", "sub_status"] }));
    await startPage(run, page.data);
    after = page.next;
  } while (after && !run.stopped);
}

function count({ total, total_is }) {
  return t(total_is === "at_least" ? "bulk_least" : total === 1 ? "bulk_one" : "bulk_count", { n: number(total) });
}

function filterText(body) {
  return Object.entries(body).filter(([name]) => name !== "status").map(([name, value]) => `${name}: ${typeof value === "object" && !Array.isArray(value) ? JSON.stringify(value) : [value].flat().join(", ")}`).join(" · ");
}

function report(run, total) {
  const bar = h("progress", { max: String(Math.max(1, total)), "aria-label": t("progress") });
  const words = h("p", { role: "status", id: "bulk-words" });
  const failed = h("ul", { class: "failures" });
  run.onStep = () => {
    const done = run.started + run.passed + run.failures.length;
    bar.value = done;
    setText(words, t("bulk_progress", { started: number(run.started), passed: number(run.passed), failed: number(run.failures.length), total: number(total) }));
    const last = run.failures[run.failures.length - 1];
    if (last && failed.children.length < Math.min(SHOWN, run.failures.length)) failed.append(h("li", {}, `${last.id}: ${shorten(last.text, 200)}`));
  };
  run.onStep();
  return [bar, words, failed];
}

function runDialog(run, total, onDone) {
  const state = h("p", { class: "soft" }, t("bulk_runs"));
  const window_ = openDialog({ title: t("bulk_title"), body: [...report(run, total), state], actions: [{ label: t("stop"), kind: "danger", run: () => {
    run.stopped = true;
    return false;
  } }], onClose: () => {
    run.stopped = true;
    onDone();
  } });
  const [stop] = window_.buttons;
  stop.id = "bulk-stop";
  const end = (text) => {
    setText(state, text);
    state.id = "bulk-end";
    stop.hidden = true;
    setText(window_.dialog.querySelector(".buttons .quiet"), t("close"));
    run.onStep();
  };
  startAll(run).then(() => end(t(run.stopped ? "bulk_stopped" : "bulk_done")), (problem) => end(problem.message));
}

export async function openBulk(filter, onDone) {
  const count_ = h("p", { id: "bulk-count", role: "status" }, t("counting"));
  const force = h("input", { type: "checkbox", id: "bulk-force" });
  const body = { ...toBody(filter), status: ["failed"] };
  let total = null;
  const { buttons } = openDialog({
    title: t("bulk_title"),
    body: [h("p", {}, t("bulk_why")), h("p", { class: "id" }, filterText(body)), count_, h("label", { class: "check" }, force, h("span", {}, t("force_label")))],
    actions: [{ label: t("bulk_go"), kind: "primary", submit: true, run: () =>
      runDialog({ body, force: force.checked, started: 0, passed: 0, failures: [], stopped: false }, total, onDone) }],
  });
  buttons[0].disabled = true;
  try {
    const answer = await ask("tasks", { ...body, p_size: 1, fields: ["task_id"] });
    total = answer.total;
    setText(count_, count(answer));
    buttons[0].disabled = answer.total === 0 && !answer.next;
  } catch (problem) {
    setText(count_, problem.message);
  }
}
