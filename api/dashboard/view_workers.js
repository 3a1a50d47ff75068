// The consumers that have been heard of lately, each with its slots and what runs in them.
import { ask } from "./api.js";
import { h, keyed, setClass, setText } from "./dom.js";
import { ago, duration, number, secondsBetween } from "./format.js";
import { t } from "./i18n.js";
import { live } from "./live.js";
import { badge, fillBadge, fillProblem, heading, problemBox, progressOf, tailOf } from "./parts.js";
import { link } from "./router.js";

const MOST_RUNS = 500;
const LATE_S = 30;
const MOST_SLOTS = 64; // drawn one by one

function runRow(run) {
  return h("tr", { "data-task": run.task_id }, h("td", {}, badge()), h("td", {}, run.service),
    h("td", {}, h("a", { class: "id", href: link("task", run.task_id), title: run.task_id, "data-row": true }, tailOf(run.task_id))),
    h("td", { class: "number" }), h("td", { class: "message" }, h("progress", { max: "1", hidden: true, "aria-label": t("progress") }), h("span", {})));
}

function fillRun(node, run) {
  fillBadge(node.children[0].firstChild, run.status, run.sub_status);
  setText(node.children[3], duration(secondsBetween(run.start_time)));
  const { part, text } = progressOf(run.progress);
  const [bar, words] = node.children[4].children;
  bar.hidden = part === null;
  if (part !== null) bar.value = part;
  setText(words, text);
}

function card(worker) {
  const body = h("tbody", {});
  return h("section", { class: "card worker", "data-worker": worker.id },
    h("div", { class: "bar" }, h("h2", { class: "id" }, worker.id || t("nameless")), h("span", { class: "soft seen" }), h("span", { class: "space" }), h("span", { class: "soft names" })),
    h("div", { class: "slots", role: "img" }), h("div", { class: "scroll" }, h("table", { class: "rows" }, body)), h("p", { class: "nothing" }, t("no_runs_now")));
}

function fillCard(node, { id, host, pid, token, services, slots, seen_time, runs }) {
  const late = secondsBetween(seen_time) > LATE_S;
  const busy = runs.length;
  setText(node.querySelector(".seen"), id ? [host, pid ? `pid ${pid}` : "", token ? t("of_token", { token }) : "", seen_time ? t("seen", { time: ago(seen_time) }) : t("never_seen")].filter(Boolean).join(" · ") : t("nameless_why"));
  node.querySelector(".seen").classList.toggle("late", late);
  setText(node.querySelector(".names"), (services ?? []).join(", "));
  const bar = node.querySelector(".slots");
  const drawn = Math.min(MOST_SLOTS, Math.max(slots ?? 0, busy));
  const words = t(slots ? "slots_busy" : "runs_busy", { busy: number(busy), slots: number(slots) });
  bar.setAttribute("aria-label", words);
  keyed(bar, [...Array(drawn).keys()], (i) => i, () => h("i", {}), (slot, i) => setClass(slot, i < busy ? "busy" : "free"));
  bar.dataset.text = words;
  keyed(node.querySelector("tbody"), runs, (run) => run.task_id, runRow, fillRun);
  node.querySelector(".nothing").hidden = busy > 0;
}

// Runs by their worker; those of workers that worker_task does not know stand under their own name. Of workers with
// one name and several tokens the one that was seen last has them.
function together(workers, runs) {
  const all = workers.map((worker) => ({ ...worker, runs: [] })), known = new Map();
  for (const worker of all) if (!(known.get(worker.id)?.seen_time > worker.seen_time)) known.set(worker.id, worker);
  for (const run of runs) {
    const id = run.worker ?? "";
    if (!known.has(id)) {
      known.set(id, { id, services: [], slots: null, seen_time: null, runs: [] });
      all.push(known.get(id));
    }
    known.get(id).runs.push(run);
  }
  return all;
}

export function workers() {
  const problem = problemBox();
  const list = h("div", { class: "workers" });
  const nothing = h("p", { class: "nothing card", id: "no-workers", hidden: true }, t("no_workers"));
  const total = h("p", { class: "soft", role: "status" });
  const node = h("div", { class: "view" }, heading(t("page_workers"), total), problem, nothing, list);
  const loop = live(async (signal) => {
    const [known, running] = await Promise.all([
      ask("worker_task", {}, { signal }),
      ask("tasks", { status: "running", p_size: MOST_RUNS, fields: ["task_id", "service", "status", "sub_status", "start_time", "progress", "worker"] }, { signal }),
    ]);
    const all = together(known.data, running.data);
    keyed(list, all, (worker) => `${worker.id} ${worker.token ?? ""}`, card, fillCard);
    nothing.hidden = all.length > 0;
    const slots = known.data.reduce((sum, worker) => sum + (worker.slots ?? 0), 0);
    setText(total, t(running.next ? "workers_total_more" : "workers_total", { n: number(known.data.length), slots: number(slots), busy: number(running.total), shown: number(running.data.length) }));
  }, { onProblem: (fault) => fillProblem(problem, fault) });
  return { node, title: () => t("page_workers"), stop: loop.stop };
}
