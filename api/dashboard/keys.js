// The keyboard: one table, from which the help is made too.
import { h } from "./dom.js";
import { openDialog } from "./dialogs.js";
import { t } from "./i18n.js";

const SEQUENCE_MS = 1200;
let first = null;
let firstAt = 0;
let table = [];

export const setKeys = (keys) => (table = keys); // [keys, key of the text, call]

const typing = (node) => node.matches?.("input, textarea, select, [contenteditable]");

function typed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return null;
  return event.key.length === 1 ? event.key : null;
}

export function onKey(event) {
  if (event.key === "Escape" && typing(event.target) && !event.target.closest("dialog")) event.target.blur();
  const key = typed(event);
  if (!key || typing(event.target) || document.querySelector("dialog[open]")) return;
  const sequence = first && Date.now() - firstAt < SEQUENCE_MS ? `${first} ${key}` : key;
  const found = table.find(([keys]) => keys === sequence) ?? table.find(([keys]) => keys === key);
  first = table.some(([keys]) => keys.startsWith(`${key} `)) && !found ? key : null;
  firstAt = Date.now();
  if (!found) return;
  event.preventDefault();
  found[2]();
}

export function showKeys() {
  const rows = table.map(([keys, text]) =>
    h("tr", {}, h("th", { scope: "row" }, keys.split(" ").map((key) => h("kbd", {}, key))), h("td", {}, t(text))));
  openDialog({ title: t("keys"), body: h("table", { class: "keys" }, h("tbody", {}, rows)) });
}

// j and k: the links of a list, one after another.
export function moveFocus(step) {
  const links = [...document.querySelectorAll("#view [data-row]")].filter((link) => link.offsetParent);
  const at = links.indexOf(document.activeElement);
  const next = links[Math.max(0, Math.min(links.length - 1, at < 0 ? 0 : at + step))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}
