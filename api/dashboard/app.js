// The frame around the views: the token, the way about, the theme and the language, the banner while the API is away.
import { Refusal, answeredAt, ask, forgetToken, isAway, listen, setToken, token } from "./api.js";
import { openCreate } from "./create.js";
import { h, setText } from "./dom.js";
import { clock } from "./format.js";
import { language, setLanguage, t } from "./i18n.js";
import { icon } from "./icons.js";
import { moveFocus, onKey, setKeys, showKeys } from "./keys.js";
import { go, here, link } from "./router.js";
import { overview } from "./view_overview.js";
import { services } from "./view_services.js";
import { task } from "./view_task.js";
import { tasks } from "./view_tasks.js";
import { workers } from "./view_workers.js";

const VIEWS = { overview, tasks, task, services, workers };
const THEMES = ["auto", "light", "dark"];
const byId = (id) => document.getElementById(id);

let shown = null; // { name, node, title(), stop(), moved?(place), keys? }

// ---- theme and language ----

const theme = () => (THEMES.includes(localStorage.getItem("theme")) ? localStorage.getItem("theme") : "auto");

function applyTheme() {
  document.documentElement.dataset.theme = theme();
  window.dispatchEvent(new Event("theme"));
}

function nextTheme() {
  localStorage.setItem("theme", THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]);
  applyTheme();
  frame();
}

function otherLanguage() {
  setLanguage(language() === "zh" ? "en" : "zh");
  show(true);
}

// ---- the frame ----

const tool = (id, picture, label, call) =>
  h("button", { id, type: "button", class: "tool", title: label, "aria-label": label, onclick: call }, icon(picture));

function navigation() {
  const at = here().view === "task" ? "tasks" : here().view;
  return h("nav", { "aria-label": t("pages") },
    ["overview", "tasks", "services", "workers"].map((name) =>
      h("a", { href: link(name), "aria-current": name === at ? "page" : undefined }, t(`page_${name}`))));
}

function frame() {
  document.documentElement.lang = language() === "zh" ? "zh-CN" : "en";
  setText(byId("skip"), t("skip"));
  const parts = [h("a", { class: "brand", href: link("overview") }, icon("mark"), h("span", {}, "longhaul"))];
  if (token()) parts.push(navigation());
  const tools = h("div", { class: "tools" });
  if (token()) tools.append(h("button", { id: "create", type: "button", class: "primary", "data-needs": "create", "aria-label": t("create"), onclick: () => openCreate() }, icon("plus"), h("span", {}, t("create"))));
  tools.append(tool("theme", "theme", t(`theme_${theme()}`), nextTheme),
               h("button", { id: "language", type: "button", class: "tool", lang: language() === "zh" ? "en" : "zh-CN", onclick: otherLanguage }, language() === "zh" ? "EN" : "中文"));
  if (token()) tools.append(tool("help", "help", t("keys"), showKeys), tool("leave", "leave", t("leave"), () => signIn("")));
  const focused = byId("top").contains(document.activeElement) ? document.activeElement : null;
  byId("top").replaceChildren(...parts, tools);
  if (focused?.id) byId(focused.id)?.focus();
  else if (focused) byId("top").querySelector(`a[href="${focused.getAttribute("href")}"]`)?.focus();
}

function banner() {
  byId("banner").hidden = !isAway() || !token();
  const since = answeredAt();
  if (isAway()) setText(byId("banner"), since ? t("away_since", { time: clock(since) }) : t("away"));
  byId("view").classList.toggle("stale", isAway());
}

// ---- the token ----

function leaveView() {
  shown?.stop();
  shown = null;
}

function signIn(why) {
  leaveView();
  document.querySelectorAll("dialog").forEach((dialog) => dialog.close());
  forgetToken();
  const input = h("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const problem = h("p", { class: "problem", role: "alert", hidden: !why }, why);
  const form = h("form", { id: "enter", class: "card" }, h("h1", {}, t("token_title")), h("p", {}, t("token_why")), problem,
    h("label", { class: "field" }, h("span", {}, t("token")), input), h("button", { type: "submit", class: "primary" }, t("enter")));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    setToken(input.value.trim());
    learnScopes();
    show(true);
  });
  document.title = "longhaul";
  frame();
  banner();
  byId("view").replaceChildren(form);
  input.focus();
}

// ---- what the token may do ----

const SCOPES = ["create", "admin"];

// style.css hides what needs a scope that is lacking.
function setScopes(scopes) {
  document.documentElement.dataset.lacks = SCOPES.filter((one) => !scopes.includes(one)).join(" ");
}

const may = (scope) => !(document.documentElement.dataset.lacks ?? "").split(" ").includes(scope);

// Where it is not answered, the views that ask the same learn it.
async function learnScopes() {
  setScopes(SCOPES);
  if (!token()) return;
  try {
    await ask("service_task", { detail: true });
  } catch (problem) {
    if (problem instanceof Refusal && problem.code === "FORBIDDEN") signIn(problem.message);
  }
}

// ---- the views ----

function show(anew) {
  if (!token()) return signIn("");
  const place = here();
  const name = VIEWS[place.view] ? place.view : "overview";
  if (!anew && shown?.name === name && shown.moved?.(place)) return frame();
  leaveView();
  frame();
  shown = { name, ...VIEWS[name](place) };
  document.title = `${shown.title()} · longhaul`;
  byId("view").replaceChildren(shown.node);
  banner();
  window.scrollTo(0, 0);
}

const call = (name) => () => shown?.keys?.[name]?.();

setKeys([
  ["?", "key_help", showKeys],
  ["g o", "page_overview", () => go(link("overview"))],
  ["g t", "page_tasks", () => go(link("tasks"))],
  ["g s", "page_services", () => go(link("services"))],
  ["g w", "page_workers", () => go(link("workers"))],
  ["n", "create", () => may("create") && openCreate()],
  ["j", "key_next", () => moveFocus(1)],
  ["k", "key_before", () => moveFocus(-1)],
  ["/", "key_filter", call("filter")],
  ["]", "key_older", call("older")],
  ["[", "key_newer", call("newer")],
  ["f", "key_follow", call("follow")],
  ["c", "key_cancel", call("cancel")],
  ["s", "key_start", call("start")],
  ["e", "key_edit", call("edit")],
  ["t", "key_theme", nextTheme],
  ["l", "key_language", otherLanguage],
]);

document.addEventListener("keydown", (event) => token() && onKey(event));
window.addEventListener("hashchange", () => location.hash !== "#view" && show(false));
byId("skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("view").focus();
});
listen("refused", () => token() && signIn(t("token_refused")));
listen("away", banner);
listen("back", banner);
listen("scopes", setScopes);
applyTheme();
learnScopes();
show(true);
