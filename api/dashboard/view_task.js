// One task: where it stands, what it was given and gave, its attempts as a picture, its log, and what can be done with it.
import { Refusal, ask, isAway } from "./api.js";
import { openCreate, openEdit } from "./create.js";
import { field, openDialog, toast } from "./dialogs.js";
import { h, keyed, setText } from "./dom.js";
import { duration, moment, secondsBetween } from "./format.js";
import { t } from "./i18n.js";
import { print } from "./json_text.js";
import { live } from "./live.js";
import { logView } from "./log.js";
import { badge, fillBadge, fillProblem, isFinal, problemBox, progressOf } from "./parts.js";
import { go, link } from "./router.js";
import { timeline } from "./timeline.js";
import { watch } from "./watch.js";

const LIVE_MS = 1000;
const FINAL_MS = 5000;
const WATCHED_MS = 20000; // where changes are told by themselves
const TICK_MS = 1000;
const STATE = ["task_id", "service", "status", "sub_status", "create_time", "start_time", "end_time", "spend_time", "attempt", "max_attempts", "run_id", "worker", "lease_until", "deadline",
  "priority", "timeout_s", "run_at", "progress", "message", "error", "tags", "idempotency_key", "source_name"];
const TEXTS = ["condition", "result"];
const MOST_SHOWN = 200000; // characters of a condition or a result

async function askTask(id, fields, signal) {
  const { data } = await ask("tasks", { task_id: id, p_size: 1, fields }, { signal, keep: TEXTS });
  return data.find((task) => task.task_id === id) ?? null;
}

// ---- actions ----

function openCancel(task, onDone) {
  const reason = h("input", { id: "cancel-reason", autocomplete: "off" });
  const grace = h("input", { id: "cancel-grace", type: "number", min: "0", step: "any", value: "10" });
  openDialog({ title: t("cancel_title"), body: [h("p", {}, t("cancel_why")), field(t("reason"), reason), field(t("grace_s"), grace)], actions: [{ label: t("cancel"), kind: "danger", submit: true, run: async () => {
    const { sub_status } = await ask("cancel_task", { task_id: task.task_id, ...(reason.value ? { reason: reason.value } : {}), ...(grace.value ? { grace_s: Number(grace.value) } : {}) });
    toast(t(sub_status === "cancelled" ? "was_cancelled" : "is_cancelling"));
    onDone();
  } }] });
}

function openStart(task, onDone) {
  const again = isFinal(task.status);
  const force = task.sub_status === "kill_unconfirmed" ? h("input", { type: "checkbox", id: "start-force", required: true }) : null;
  const body = [h("p", {}, t(again ? "start_again_why" : "start_now_why"))];
  if (force) body.push(h("label", { class: "check" }, force, h("span", {}, t("force_one"))));
  openDialog({ title: t(again ? "start_again" : "start_now"), body, actions: [{ label: t(again ? "start_again" : "start_now"), kind: "primary", submit: true, run: async () => {
    await ask("start_task", { task_id: task.task_id, ...(force?.checked ? { force: true } : {}) });
    toast(t("started_task"));
    onDone();
  } }] });
}

function openDelete(task) {
  openDialog({ title: t("delete_title"), body: h("p", {}, t("delete_why")), actions: [{ label: t("delete"), kind: "danger", submit: true, run: async () => {
    await ask("delete_task", { task_id: task.task_id });
    toast(t("deleted"));
    go(link("tasks", "", { service: task.service }));
  } }] });
}

const startable = ({ status, sub_status }) => isFinal(status) || sub_status === "held" || sub_status === "delayed" || sub_status === "retry";

function actionBar(act) {
  const button = (name, kind) => h("button", { type: "button", id: `do-${name}`, class: kind, "data-needs": name === "delete" ? "admin" : "create", onclick: () => act[name]() });
  const all = { start: button("start", "primary"), cancel: button("cancel", "danger"), edit: button("edit", ""), like: button("like", ""), delete: button("delete", "danger quiet") };
  setText(all.cancel, t("cancel"));
  setText(all.edit, t("edit"));
  setText(all.like, t("create_like"));
  setText(all.delete, t("delete"));
  return {
    node: h("div", { class: "actions" }, Object.values(all)),
    fill(task) {
      all.start.hidden = !startable(task);
      setText(all.start, t(isFinal(task.status) ? "start_again" : "start_now"));
      all.cancel.hidden = isFinal(task.status) || task.sub_status === "cancelling";
      all.edit.hidden = task.status === "running";
      all.delete.hidden = !isFinal(task.status);
    },
    click: (name) => !all[name].hidden && all[name].checkVisibility() && act[name](),
  };
}

// ---- facts ----

function facts(task) {
  const rows = [["service", task.service], ["created", moment(task.create_time), task.create_time]];
  if (task.run_at && !task.start_time) rows.push(["run_at", moment(task.run_at), task.run_at]);
  if (task.start_time) rows.push(["started", moment(task.start_time), task.start_time]);
  if (task.end_time) rows.push(["ended", moment(task.end_time), task.end_time]);
  if (task.spend_time !== null) rows.push(["took", duration(task.spend_time)]);
  else if (task.status === "running") rows.push(["took", duration(secondsBetween(task.start_time))]);
  else if (task.status === "waiting") rows.push(["waits", duration(secondsBetween(task.create_time))]);
  rows.push(["attempt", task.max_attempts ? t("of", { n: task.attempt, max: task.max_attempts }) : String(task.attempt)], ["its_priority", String(task.priority)]);
  if (task.worker) rows.push(["consumer", task.worker]);
  if (task.status === "running" && task.lease_until) rows.push(["lease_until", moment(task.lease_until), task.lease_until]);
  if (task.deadline) rows.push(["deadline", moment(task.deadline), task.deadline]);
  for (const [name, value] of Object.entries(task.tags ?? {})) rows.push([`#${name}`, value]);
  if (task.idempotency_key) rows.push(["idempotency_key", task.idempotency_key]);
  return rows;
}

const factRow = ([name]) => h("div", {}, name.startsWith("#") ? h("dt", { class: "tag-name" }, name) : h("dt", {}, t(name)), h("dd", {}));

function fillFact(node, [, value, title]) {
  setText(node.lastChild, value);
  if (title) node.lastChild.title = title;
}

function textCard(name) {
  const text = h("pre", { id: name, tabindex: "0" });
  const copy = h("button", { type: "button", class: "quiet", onclick: () => navigator.clipboard?.writeText(text.textContent).then(() => toast(t("copied")), () => {}) }, t("copy"));
  const node = h("section", { class: "card", hidden: true }, h("div", { class: "bar" }, h("h2", {}, t(name)), navigator.clipboard ? copy : null), text);
  return { node, fill(value) {
    node.hidden = value === undefined;
    if (value === undefined) return;
    const printed = print(value);
    setText(text, printed.length > MOST_SHOWN ? `${printed.slice(0, MOST_SHOWN)}\n${t("cut_here")}` : printed);
  } };
}

function faultCard() {
  const text = h("pre", { tabindex: "0" });
  const kind = h("small", {});
  const node = h("section", { class: "card fault", id: "error", hidden: true }, h("h2", {}, t("error"), " ", kind), text);
  return { node, fill({ status, error, message }) {
    const said = error?.text ?? (status === "failed" ? message : null);
    node.hidden = !said;
    setText(kind, error?.class ? t(`class_${error.class}`) : "");
    setText(text, typeof said === "string" ? said : said ? JSON.stringify(said) : "");
  } };
}

function progressLine() {
  const bar = h("progress", { max: "1", "aria-label": t("progress") });
  const words = h("span", {});
  const node = h("div", { class: "progress", id: "progress", hidden: true }, bar, words);
  return { node, fill({ status, progress, message }) {
    const { part, text } = progressOf(progress);
    node.hidden = status !== "running" || (part === null && !text && !message);
    bar.hidden = part === null;
    if (part !== null) bar.value = part;
    setText(words, [text, status === "running" && message ? message : ""].filter(Boolean).join(" · "));
  } };
}

// ---- the view ----

export function task(place) {
  const id = place.argument;
  let now = null; // as it was last read, with condition and result
  const act = {
    start: () => now && openStart(now, again),
    cancel: () => now && openCancel(now, again),
    edit: () => now && openEdit(now, again),
    like: () => now && openCreate(now),
    delete: () => now && openDelete(now),
  };
  const state = badge();
  const title = h("h1", { class: "id" }, id);
  const actions = actionBar(act);
  const problem = problemBox();
  const gone = h("p", { class: "nothing", id: "gone", hidden: true });
  const list = h("dl", { class: "facts" });
  const [condition, result, fault, progress, runs, log] = [textCard("condition"), textCard("result"), faultCard(), progressLine(), timeline(), logView(id)];
  const body = h("div", { hidden: true }, progress.node, h("div", { class: "task" }, h("section", { class: "card" }, h("h2", {}, t("facts")), list),
    h("div", { class: "texts" }, fault.node, result.node, condition.node)), runs.node, log.node);
  const node = h("div", { class: "view" }, h("div", { class: "heading" }, h("a", { href: link("tasks"), class: "back" }, `← ${t("page_tasks")}`), title, state, actions.node), problem, gone, body);
  actions.node.hidden = state.hidden = true;

  function fill(seen) {
    now = { ...now, ...seen };
    fillBadge(state, seen.status, seen.sub_status);
    keyed(list, facts(seen), ([name]) => name, factRow, fillFact);
    actions.fill(seen);
    for (const part of [fault, progress]) part.fill(seen);
    condition.fill(now.condition);
    result.fill(seen.status === "finished" ? now.result : undefined);
    body.hidden = actions.node.hidden = state.hidden = false;
    gone.hidden = true;
  }

  async function fillGone(signal) {
    const { status: [said] } = await ask("status_task", [{ task_id: id }], { signal });
    gone.hidden = false;
    actions.node.hidden = body.hidden = state.hidden = true;
    setText(gone, said.sub_status === "removed" ? t("task_removed", { status: t(`status_${said.status}`), time: moment(said.end_time) }) : t("task_unknown"));
  }

  // The condition and the result may be large: they are read again only when the task has moved.
  const moved = (seen) => !now || seen.status !== now.status || seen.attempt !== now.attempt || seen.end_time !== now.end_time;
  let fresh = false;
  let seenTimes = null;

  async function refresh(signal) {
    let seen = await askTask(id, STATE, signal);
    if (!seen) return fillGone(signal);
    const times = await ask("timeline_task", { task_id: id }, { signal });
    if (!fresh || moved(seen)) seen = (await askTask(id, [...STATE, ...TEXTS], signal)) ?? seen;
    fresh = true;
    fill(seen);
    seenTimes = times;
    runs.show(times);
    log.show(times.data.map((run) => run.attempt));
  }

  const onProblem = (found) => fillProblem(problem, found instanceof Refusal && found.code === "TASK_REMOVED" ? null : found);
  const period = () => (watcher.works() ? WATCHED_MS : now && !isFinal(now.status) ? LIVE_MS : FINAL_MS);
  const watcher = watch(id, () => loop.soon());
  const loop = live(refresh, { everyMs: period, onProblem });
  // What grows while nothing changes: how long it has run and waited.
  const ticker = setInterval(() => {
    if (!now || !seenTimes || isFinal(now.status) || document.hidden || isAway()) return;
    keyed(list, facts(now), ([name]) => name, factRow, fillFact);
    runs.show(seenTimes);
  }, TICK_MS);

  function again() {
    fresh = false;
    loop.now();
  }

  return {
    node,
    title: () => id,
    stop() {
      clearInterval(ticker);
      watcher.stop();
      loop.stop();
      log.stop();
    },
    keys: { follow: log.toggle, cancel: () => actions.click("cancel"), start: () => actions.click("start"), edit: () => actions.click("edit") },
  };
}
