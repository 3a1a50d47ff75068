// Pieces that several views show.
import { Away } from "./api.js";
import { h, setClass, setText } from "./dom.js";
import { number, shorten } from "./format.js";
import { t } from "./i18n.js";

export const STATUSES = ["ready", "waiting", "running", "finished", "failed"];
export const SUBS = {
  ready: ["held", "producing"],
  waiting: ["queued", "delayed", "retry", "paused"],
  running: ["claimed", "started", "cancelling"],
  failed: ["error", "timeout", "limit", "crash", "cancelled", "expired", "dead", "kill_unconfirmed"],
};
export const isFinal = (status) => status === "finished" || status === "failed";
export const statusText = (status) => t(`status_${status}`);
export const subText = (sub) => t(`sub_${sub}`);

// A status as a pill, with the sub_status beside it; fillBadge changes it in place.
export function badge() {
  return h("span", { class: "state" }, h("span", { class: "badge" }), h("small", {}));
}

export function fillBadge(node, status, sub) {
  const [pill, small] = node.children;
  setText(pill, statusText(status));
  setClass(pill, `badge ${status}`);
  pill.dataset.status = status;
  setText(small, sub ? subText(sub) : "");
}

// The part that is done, 0 to 1, or null; and its words.
export function progressOf(progress) {
  if (progress === null || progress === undefined) return { part: null, text: "" };
  if (typeof progress === "number") return { part: progress, text: `${Math.round(progress * 100)} %` };
  const { done, total, text } = progress;
  const part = total > 0 && done !== undefined ? Math.min(1, done / total) : null;
  const count = done === undefined ? "" : total === undefined ? number(done) : `${number(done)} / ${number(total)}`;
  return { part, text: [count, text].filter(Boolean).join(" · ") };
}

// What a task's row says of itself in one line.
export function saying(task) {
  if (task.error?.text) return shorten(task.error.text, 300);
  if (task.status === "running" && task.progress !== null && task.progress !== undefined) return progressOf(task.progress).text;
  return shorten(String(task.message ?? ""), 300);
}

// ts_<service>_<uuid>: the part that tells tasks of a service apart.
export const shortId = (id, service) => (id.startsWith(`ts_${service}_`) ? id.slice(service.length + 4) : id);

// Enough to tell a few tasks apart; the whole id is in the title.
export const tailOf = (id) => `…${id.slice(-12)}`;

// A view's own words on what went wrong; the banner speaks of an API that is away.
export function problemBox() {
  return h("p", { class: "problem", role: "alert", hidden: true });
}

export function fillProblem(node, problem) {
  const silent = !problem || problem instanceof Away || problem.code === "UNAUTHORIZED";
  node.hidden = silent;
  if (!silent) setText(node, problem.code ? `${problem.message} (${problem.code})` : problem.message);
}

// Options of a select that are not there yet.
export function offer(select, values) {
  for (const value of values) if (![...select.options].some((one) => one.value === value)) select.append(h("option", { value }, value));
}

export const heading = (text, ...beside) => h("div", { class: "heading" }, h("h1", {}, text), ...beside);
