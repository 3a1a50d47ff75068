// The list of tasks: filters and the place in the list stand in the URL; the page that is seen is kept up to date in place.
import { ask } from "./api.js";
import { openBulk } from "./bulk.js";
import { h, keyed, setText } from "./dom.js";
import { fitting, fromQuery, isCheap, isEmpty, toBody, toIso, toLocal } from "./filters.js";
import { ago, duration, number, secondsBetween } from "./format.js";
import { t } from "./i18n.js";
import { live } from "./live.js";
import { STATUSES, SUBS, badge, fillBadge, fillProblem, heading, isFinal, offer, problemBox, progressOf, saying, shortId, statusText, subText } from "./parts.js";
import { go, here, link } from "./router.js";
import { watch } from "./watch.js";

const PAGE = 50;
const CHEAP_MS = 2000;
const DEAR_MS = 30000; // where the API has to look at many tasks
const TYPING_MS = 350;
const FIELDS = ["task_id", "service", "status", "sub_status", "create_time", "start_time", "end_time", "spend_time", "attempt", "max_attempts", "progress", "message", "error", "run_at"];

// ---- rows ----

function row(task) {
  return h("tr", { "data-task": task.task_id }, h("td", { class: "c-state" }, badge()), h("td", { class: "c-service" }, task.service),
    h("td", { class: "c-id" }, h("a", { class: "id", href: link("task", task.task_id), title: task.task_id, "data-row": true }, shortId(task.task_id, task.service))),
    h("td", { class: "c-created when" }), h("td", { class: "c-took number" }), h("td", { class: "c-attempt number" }),
    h("td", { class: "c-says message" }, h("progress", { max: "1", hidden: true, "aria-label": t("progress") }), h("span", {})));
}

function took(task) {
  if (task.spend_time !== null && task.spend_time !== undefined) return duration(task.spend_time);
  if (task.status === "running") return duration(secondsBetween(task.start_time));
  return "";
}

function says(task) {
  if ((task.sub_status === "delayed" || task.sub_status === "retry") && task.run_at) {
    const wait = secondsBetween(new Date().toISOString(), task.run_at);
    return [wait > 0 ? t("runs_in", { time: duration(wait) }) : "", saying(task)].filter(Boolean).join(" · ");
  }
  return saying(task);
}

function fillRow(node, task) {
  const [state, , , created, time, attempt, said] = node.children;
  fillBadge(state.firstChild, task.status, task.sub_status);
  setText(created, ago(task.create_time));
  created.title = task.create_time;
  setText(time, took(task));
  setText(attempt, task.attempt ? (task.max_attempts > 1 ? `${task.attempt} / ${task.max_attempts}` : task.attempt) : "");
  const { part } = progressOf(task.status === "running" ? task.progress : null);
  said.firstChild.hidden = part === null;
  if (part !== null) said.firstChild.value = part;
  setText(said.lastChild, says(task));
  said.title = says(task);
}

// ---- the filter bar ----

function chips(name, values, textOf, onChange) {
  return h("fieldset", { class: "chips" }, h("legend", {}, t(name)), values.map((value) =>
    h("label", { class: `chip ${value}` }, h("input", { type: "checkbox", name, value, onchange: onChange }), h("span", {}, textOf(value)))));
}

function filterBar(onChange) {
  let timer = 0;
  let shown = {};
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(() => onChange({ typing: true }), TYPING_MS);
  };
  const service = h("select", { id: "f-service", name: "service", onchange: onChange }, h("option", { value: "" }, t("all_services")));
  const prefix = h("input", { id: "f-id", name: "task_id", type: "search", spellcheck: "false", autocomplete: "off", placeholder: "ts_…", oninput: soon });
  const tags = h("input", { id: "f-tags", name: "tags", type: "search", spellcheck: "false", autocomplete: "off", placeholder: "team=blue", oninput: soon });
  const from = h("input", { id: "f-from", name: "from", type: "datetime-local", onchange: onChange });
  const to = h("input", { id: "f-to", name: "to", type: "datetime-local", onchange: onChange });
  const sub = h("select", { id: "f-sub", name: "sub_status", onchange: onChange });
  const states = chips("status", STATUSES, statusText, onChange);
  const clear = h("button", { type: "button", class: "quiet", id: "clear", onclick: () => go(link("tasks")) }, t("clear"));
  const labelled = (label, input) => h("label", { class: "field" }, h("span", {}, t(label)), input);
  const node = h("form", { class: "filters card", role: "search", "aria-label": t("filter"), onsubmit: (event) => event.preventDefault() },
    states, labelled("service", service), labelled("sub_status", sub), labelled("id_prefix", prefix), labelled("tags", tags), labelled("from", from), labelled("to", to));
  states.append(clear);

  // An input knows no seconds: what it has not changed stays as it was.
  const timeOf = (input, was) => (input.value === toLocal(was) ? was : toIso(input.value));

  function offerSubs(filter) {
    const statuses = filter.status?.length ? filter.status : STATUSES;
    const values = statuses.flatMap((status) => SUBS[status] ?? []);
    sub.replaceChildren(h("option", { value: "" }, t("any")), ...values.map((value) => h("option", { value }, subText(value))));
    sub.value = filter.sub_status?.[0] ?? "";
    if (filter.sub_status?.length > 1) {
      sub.append(h("option", { value: filter.sub_status.join(" ") }, filter.sub_status.map(subText).join(", ")));
      sub.value = filter.sub_status.join(" ");
    }
  }

  return {
    node,
    focus: () => prefix.focus(),
    offer: (names) => offer(service, names),
    // `typing`: the field that has the focus may be further than the filter.
    show(filter, typing) {
      shown = filter;
      this.offer(filter.service ? [filter.service] : []);
      service.value = filter.service ?? "";
      for (const box of states.querySelectorAll("input")) box.checked = filter.status?.includes(box.value) ?? false;
      offerSubs(filter);
      for (const [input, text] of [[prefix, filter.task_id], [tags, filter.tags], [from, toLocal(filter.from)], [to, toLocal(filter.to)]])
        if (!typing || document.activeElement !== input) input.value = text ?? "";
      clear.hidden = isEmpty(filter);
    },
    read() {
      clearTimeout(timer);
      return fitting({
        service: service.value, status: [...states.querySelectorAll("input:checked")].map((box) => box.value),
        sub_status: sub.value ? sub.value.split(" ") : [], task_id: prefix.value.trim(), tags: tags.value.trim(), from: timeOf(from, shown.from), to: timeOf(to, shown.to),
      });
    },
    stop: () => clearTimeout(timer),
  };
}

// ---- the view ----

export function tasks(place) {
  let filter, cursor;
  let answer = null;
  let asked = "";
  let watched = [];
  let watcher = null;
  let typed = ""; // the address that was made last from what somebody types
  const bar = filterBar(({ typing }) => {
    const to = link("tasks", "", bar.read());
    if (typing) typed = to;
    go(to, { replace: typing });
  });
  const body = h("tbody", { id: "rows" });
  const total = h("p", { id: "total", class: "soft", role: "status" });
  const problem = problemBox();
  const nothing = h("div", { class: "nothing", id: "nothing", hidden: true });
  const newest = h("a", { class: "button", id: "newest" }, t("newest"));
  const newer = h("a", { class: "button", id: "newer", rel: "prev" }, t("newer"));
  const older = h("a", { class: "button", id: "older", rel: "next" }, t("older"));
  const retry = h("button", { type: "button", id: "bulk", "data-needs": "create", onclick: () => openBulk(filter, () => loop.now()) }, t("bulk"));
  const heads = ["status", "service", "task", "created", "took", "attempt", "says"];
  const table = h("table", { id: "tasks", class: "rows" }, h("caption", { class: "unseen" }, t("page_tasks")),
    h("thead", {}, h("tr", {}, heads.map((name) => h("th", { scope: "col", class: name === "took" || name === "attempt" ? "number" : "" }, t(name))))), body);
  const node = h("div", { class: "view" }, heading(t("page_tasks"), total, retry), bar.node, problem,
    h("section", { class: "card list" }, h("div", { class: "scroll" }, table), nothing), h("nav", { class: "pager", "aria-label": t("pager") }, newest, newer, older));

  function page(link_, to) {
    if (to) link_.href = link("tasks", "", { ...filter, ...to });
    else link_.removeAttribute("href");
    link_.setAttribute("aria-disabled", to ? "false" : "true");
  }

  function fillEmpty() {
    nothing.hidden = answer.data.length > 0;
    table.hidden = answer.data.length === 0;
    if (answer.data.length) return;
    setText(nothing, answer.next ? t("found_none_yet") : isEmpty(filter) && isEmpty(cursor) ? t("no_tasks") : t("found_none"));
  }

  function fill() {
    keyed(body, answer.data, (task) => task.task_id, row, fillRow);
    setText(total, t(answer.total_is === "at_least" ? "total_least" : answer.total === 1 ? "total_one" : "total", { n: number(answer.total) }));
    page(newest, isEmpty(cursor) ? null : {});
    page(newer, answer.prev && !isEmpty(cursor) ? { before: answer.prev } : null);
    page(older, answer.next ? { after: answer.next } : null);
    fillEmpty();
  }

  function read({ query }) {
    filter = fromQuery(query);
    cursor = Object.fromEntries(["after", "before"].filter((name) => query.get(name)).map((name) => [name, query.get(name)]));
    bar.show(filter, location.hash === typed);
  }

  // A list that is dear to ask for is asked for seldom; its tasks that have not ended are watched meanwhile.
  function follow() {
    const ids = isCheap(filter) ? [] : answer.data.filter((task) => !isFinal(task.status)).map((task) => task.task_id);
    if (ids.join() === watched.join()) return;
    watched = ids;
    watcher?.stop();
    watcher = ids.length ? watch(ids, onEvent) : null;
  }

  function onEvent(event, told) {
    const at = event === "gap" ? -1 : answer.data.findIndex((task) => task.task_id === told.task_id);
    if (at < 0) return;
    answer.data[at] = { ...answer.data[at], ...told };
    keyed(body, answer.data, (task) => task.task_id, row, fillRow);
  }

  async function refresh(signal) {
    const key = location.hash;
    let body_;
    try {
      body_ = toBody(filter);
    } catch (fault) {
      throw new Error(t("bad_tags", { text: fault.message }));
    }
    const got = await ask("tasks", { ...body_, ...cursor, p_size: PAGE, fields: FIELDS }, { signal });
    if (key !== location.hash) return;
    answer = got;
    asked = key;
    fill();
    follow();
  }

  read(place);
  const loop = live(refresh, { everyMs: () => (isCheap(filter) ? CHEAP_MS : DEAR_MS), onProblem: (fault) => fillProblem(problem, fault) });
  ask("service_task", {}).then(({ data }) => {
    bar.offer(data);
    bar.show(filter, true);
  }, () => {});
  const ticker = setInterval(() => answer && asked === location.hash && !document.hidden && keyed(body, answer.data, (task) => task.task_id, row, fillRow), 1000);

  return {
    node,
    title: () => t("page_tasks"),
    moved(next) {
      read(next);
      loop.now();
      return here().view === "tasks";
    },
    stop() {
      clearInterval(ticker);
      watcher?.stop();
      bar.stop();
      loop.stop();
    },
    keys: { filter: bar.focus, older: () => older.click(), newer: () => newer.click() },
  };
}
