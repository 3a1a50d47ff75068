// What somebody on call looks at first: what is queued, runs and has failed, what needs a hand, and how it went lately.
import { ask } from "./api.js";
import { h, keyed, setClass, setText } from "./dom.js";
import { ago, compact, duration, number } from "./format.js";
import { history } from "./history.js";
import { t } from "./i18n.js";
import { live } from "./live.js";
import { STATUSES, badge, fillBadge, fillProblem, heading, problemBox, saying, tailOf } from "./parts.js";
import { link } from "./router.js";

const FAILURES = 8;
const EXAMPLE = { service: "SERVICE", condition: {} };

function tile(name, query) {
  const value = h("b", {}, "–");
  const note = h("small", {});
  const node = h(query ? "a" : "div", { class: `tile ${name}`, href: query ? link("tasks", "", query) : undefined, id: `tile-${name}` },
                 h("span", {}, t(`tile_${name}`)), value, note);
  return { node, fill: (text, beside = "") => {
    setText(value, text);
    setText(note, beside);
  } };
}

const sum = (services, pick) => services.reduce((total, service) => total + pick(service), 0);
const queued = (service) => service.counts.ready + service.counts.waiting;

function oldest(services) {
  return services.reduce((most, one) => (one.oldest_waiting_s !== null && (!most || one.oldest_waiting_s > most.oldest_waiting_s) ? one : most), null);
}

// What needs a hand: [key, service, text].
function warnings(services) {
  const found = [];
  for (const { service, counts, paused, workers, limits } of services) {
    if (paused) found.push(["paused", service, t("warn_paused", { service, n: number(counts.waiting) })]);
    else if (counts.waiting > 0 && workers === 0) found.push(["nobody", service, t("warn_nobody", { service, n: number(counts.waiting) })]);
    if (limits.max_waiting && counts.ready + counts.waiting >= limits.max_waiting) found.push(["full", service, t("warn_full", { service, n: number(limits.max_waiting) })]);
  }
  return found;
}

function serviceRow({ service }) {
  const cell = (status) => h("td", { class: "number", "data-status": status }, h("a", { href: link("tasks", "", { service, status }) }));
  return h("tr", { "data-service": service }, h("th", { scope: "row" }, h("a", { href: link("tasks", "", { service }), "data-row": true }, service), h("span", { class: "tag paused", hidden: true }, t("paused"))),
           STATUSES.map(cell), h("td", { class: "number" }), h("td", { class: "number" }));
}

function fillService(row, { counts, oldest_waiting_s, workers, paused }) {
  row.querySelector(".paused").hidden = !paused;
  STATUSES.forEach((status, i) => {
    const anchor = row.children[i + 1].firstChild;
    setText(anchor, number(counts[status]));
    setClass(anchor, counts[status] ? status : "none");
  });
  setText(row.children[6], duration(oldest_waiting_s));
  setText(row.children[7], number(workers));
}

function failureRow(task) {
  return h("tr", { "data-task": task.task_id }, h("td", {}, badge()), h("td", {}, task.service),
           h("td", {}, h("a", { class: "id", href: link("task", task.task_id), title: task.task_id, "data-row": true }, tailOf(task.task_id))),
           h("td", { class: "when" }), h("td", { class: "message" }));
}

function fillFailure(row, task) {
  fillBadge(row.children[0].firstChild, task.status, task.sub_status);
  setText(row.children[3], ago(task.end_time));
  setText(row.children[4], saying(task));
  row.children[4].title = saying(task);
}

function serviceTable(body) {
  const head = [t("service"), ...STATUSES.map((status) => t(`status_${status}`)), t("oldest_short"), t("consumers")];
  return h("section", { class: "card" }, h("h2", {}, t("services")), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("services") },
    h("table", { id: "counts", class: "dense" }, h("thead", {}, h("tr", {}, head.map((text, i) => h("th", { scope: "col", class: i ? "number" : "" }, text)))), body)));
}

function failureTable(body, none) {
  return h("section", { class: "card" }, h("h2", {}, t("last_failures"), h("a", { class: "more", href: link("tasks", "", { status: "failed" }) }, t("all_failed"))),
    h("div", { class: "scroll" }, h("table", { id: "failures", class: "rows" }, body)), none);
}

function firstTask(services) {
  const body = JSON.stringify({ data: { ...EXAMPLE, service: services[0]?.service ?? EXAMPLE.service } });
  return `curl ${location.origin}/api/create_task \\\n  -H "Authorization: $AUTH_TOKEN" \\\n  -d '${body}'`;
}

export function overview(place) {
  const tiles = {
    queued: tile("queued", { status: ["ready", "waiting"] }),
    running: tile("running", { status: "running" }),
    failed: tile("failed", { status: "failed" }),
    finished: tile("finished", { status: "finished" }),
    oldest: tile("oldest", { status: "waiting" }),
  };
  const attention = h("ul", { class: "attention", "aria-label": t("attention") });
  const counts = h("tbody", {});
  const failures = h("tbody", {});
  const noFailures = h("p", { class: "nothing", hidden: true }, t("no_failures"));
  const example = h("pre", { id: "example", tabindex: "0" });
  const empty = h("section", { class: "card", id: "empty", hidden: true }, h("h2", {}, t("no_tasks")), h("p", {}, t("first_task")), example);
  const problem = problemBox();
  const past = history(place);
  const node = h("div", { class: "view" }, heading(t("page_overview")), problem, h("div", { class: "tiles" }, Object.values(tiles).map((one) => one.node)),
                 attention, empty, past.node, h("div", { class: "two" }, serviceTable(counts), failureTable(failures, noFailures)));

  function fill(services) {
    const worst = oldest(services);
    const total = sum(services, (one) => STATUSES.reduce((all, status) => all + one.counts[status], 0));
    tiles.queued.fill(compact(sum(services, queued)));
    tiles.running.fill(compact(sum(services, (one) => one.counts.running)));
    tiles.failed.fill(compact(sum(services, (one) => one.counts.failed)));
    tiles.finished.fill(compact(sum(services, (one) => one.counts.finished)));
    tiles.oldest.fill(duration(worst?.oldest_waiting_s), worst?.service ?? "");
    keyed(counts, services, (one) => one.service, serviceRow, fillService);
    keyed(attention, warnings(services), ([kind, service]) => `${kind} ${service}`, ([, service]) => h("li", {}, h("a", { href: link("services", service) })),
          (item, [, , text]) => setText(item.firstChild, text));
    empty.hidden = total > 0;
    if (total === 0) setText(example, firstTask(services));
  }

  const loop = live(async (signal) => {
    const [services, failed] = await Promise.all([
      ask("service_task", { detail: true }, { signal }),
      ask("tasks", { status: "failed", p_size: FAILURES, fields: ["task_id", "service", "status", "sub_status", "end_time", "message", "error"] }, { signal }),
    ]);
    fill(services.data);
    keyed(failures, failed.data, (task) => task.task_id, failureRow, fillFailure);
    noFailures.hidden = failed.data.length > 0;
  }, { onProblem: (fault) => fillProblem(problem, fault) });

  return {
    node,
    title: () => t("page_overview"),
    moved: (next) => past.moved(next),
    stop() {
      loop.stop();
      past.stop();
    },
  };
}
