// The services: paused or not, their limits, what waits, who serves them.
import { ask } from "./api.js";
import { field, openDialog, toast } from "./dialogs.js";
import { h, keyed, setText } from "./dom.js";
import { duration, number } from "./format.js";
import { t } from "./i18n.js";
import { live } from "./live.js";
import { STATUSES, fillProblem, heading, problemBox, statusText } from "./parts.js";
import { link } from "./router.js";

function openPause(service, onDone) {
  openDialog({ title: t("pause_title", { service: service.service }), body: h("p", {}, t("pause_why")), actions: [{ label: t("pause"), kind: "danger", submit: true, run: async () => {
    await ask("pause_service_task", { service: service.service });
    toast(t("was_paused", { service: service.service }));
    onDone();
  } }] });
}

async function resume(service, onDone) {
  try {
    await ask("resume_service_task", { service: service.service });
    toast(t("was_resumed", { service: service.service }));
    onDone();
  } catch (problem) {
    toast(problem.message, "bad");
  }
}

function openLimits({ service, limits }, onDone) {
  const input = (name) => h("input", { id: `l-${name}`, type: "number", min: "0", step: "1", value: limits[name] ?? "", placeholder: t("no_limit") });
  const running = input("max_running");
  const waiting = input("max_waiting");
  const read = (node) => {
    if (!node.validity.valid) throw new Error(node.validationMessage);
    return node.value === "" ? null : Number(node.value);
  };
  openDialog({ title: t("limits_title", { service }), body: [field(t("max_running"), running, t("max_running_hint")), field(t("max_waiting"), waiting, t("max_waiting_hint")), h("p", { class: "soft" }, t("limits_hint"))],
    actions: [{ label: t("save"), kind: "primary", submit: true, run: async () => {
      await ask("limit_service_task", { service, max_running: read(running), max_waiting: read(waiting) });
      toast(t("limits_set", { service }));
      onDone();
    } }] });
}

function card(service, act) {
  const cell = (status) => h("a", { class: `count ${status}`, href: link("tasks", "", { service: service.service, status }) }, h("span", {}, statusText(status)), h("b", {}));
  return h("section", { class: "card service", "data-service": service.service, id: `service-${service.service}` },
    h("div", { class: "bar" }, h("h2", {}, h("a", { href: link("tasks", "", { service: service.service }), "data-row": true }, service.service)), h("span", { class: "tag paused", hidden: true }, t("paused")),
      h("span", { class: "space" }), h("button", { type: "button", class: "toggle", "data-needs": "admin", onclick: () => act.toggle(service.service) }),
      h("button", { type: "button", class: "limits", "data-needs": "admin", onclick: () => act.limits(service.service) }, t("limits"))),
    h("div", { class: "counts" }, STATUSES.map(cell)), h("dl", { class: "facts" }, ["oldest", "consumers", "max_running", "max_waiting", "topic"].map((name) => h("div", {}, h("dt", {}, t(name)), h("dd", {})))));
}

function fillCard(node, service) {
  node.querySelector(".paused").hidden = !service.paused;
  setText(node.querySelector(".toggle"), t(service.paused ? "resume" : "pause"));
  node.querySelectorAll(".count b").forEach((value, i) => setText(value, number(service.counts[STATUSES[i]])));
  const { limits } = service;
  const limit = (value) => (value ? number(value) : t("no_limit"));
  const values = [duration(service.oldest_waiting_s), number(service.workers), limit(limits.max_running), limit(limits.max_waiting), service.topic ?? t("no_broker")];
  node.querySelectorAll("dd").forEach((value, i) => setText(value, values[i]));
}

export function services(place) {
  let last = [];
  const find = (name) => last.find((one) => one.service === name);
  const again = () => loop.now();
  const act = {
    toggle: (name) => (find(name).paused ? resume(find(name), again) : openPause(find(name), again)),
    limits: (name) => openLimits(find(name), again),
  };
  const problem = problemBox();
  const list = h("div", { class: "services" });
  const node = h("div", { class: "view" }, heading(t("page_services")), problem, list);
  let sought = place.argument;
  const loop = live(async (signal) => {
    last = (await ask("service_task", { detail: true }, { signal })).data;
    keyed(list, last, (one) => one.service, (one) => card(one, act), fillCard);
    if (sought) document.getElementById(`service-${sought}`)?.scrollIntoView({ block: "center" });
    sought = "";
  }, { onProblem: (fault) => fillProblem(problem, fault) });
  return { node, title: () => t("page_services"), stop: loop.stop };
}
