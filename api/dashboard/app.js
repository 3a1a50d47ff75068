// The page: asks the API every two seconds and shows counts by service and status, and the newest tasks.
"use strict";

const STATUSES = ["ready", "waiting", "running", "finished", "failed"];
const POLL_MS = 2000;
const NEWEST = 20;
const TOKEN = "longhaul-token";

const byId = (id) => document.getElementById(id);

// The default of max_status_task; where it is set lower, that is found out by asking for less.
let idsAtOnce = 10;
let timer = 0;
let asking = false;

class Refusal extends Error {
  constructor(status, answer) {
    super(answer.message || `HTTP ${status}`);
    this.status = status;
    this.code = answer.code;
  }
}

async function ask(route, body) {
  const answer = await fetch(route, {
    method: "POST",
    headers: { Authorization: sessionStorage.getItem(TOKEN), "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(10000),
  });
  const text = await answer.text();
  let parsed;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw new Refusal(answer.status, {});
  }
  if (parsed.result !== "ok") throw new Refusal(answer.status, parsed);
  return parsed;
}

async function askTotal(service, status) {
  return (await ask("/api/tasks", { p_size: 1, service, status })).total;
}

async function askCounts() {
  const services = (await ask("/api/service_task", {})).data;
  const rows = [];
  for (const service of services)
    rows.push({ service, totals: await Promise.all(STATUSES.map((status) => askTotal(service, status))) });
  return rows;
}

async function askStatuses(ids) {
  const found = new Map();
  for (let at = 0; at < ids.length; ) {
    const some = ids.slice(at, at + idsAtOnce).map((task_id) => ({ task_id }));
    try {
      for (const item of (await ask("/api/status_task", { data: some })).status) found.set(item.task_id, item);
      at += some.length;
    } catch (problem) {
      if (problem.code !== "TOO_MANY" || idsAtOnce === 1) throw problem;
      idsAtOnce = Math.ceil(idsAtOnce / 2);
    }
  }
  return found;
}

async function askTasks() {
  const tasks = (await ask("/api/tasks", { p_size: NEWEST })).data;
  const statuses = await askStatuses(tasks.map((task) => task.task_id));
  return tasks.map((task) => ({ ...task, ...statuses.get(task.task_id) }));
}

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function countRow({ service, totals }) {
  const row = element("tr");
  const head = element("th", service);
  head.scope = "row";
  row.append(head);
  totals.forEach((total, i) => {
    const cell = element("td", total.toLocaleString("en"), total ? `number ${STATUSES[i]}` : "number none");
    cell.dataset.status = STATUSES[i];
    row.append(cell);
  });
  return row;
}

function timeOf(text) {
  const made = element("time", text ? new Date(text).toLocaleString() : "");
  if (text) {
    made.dateTime = text;
    made.title = text;
  }
  return made;
}

function taskRow(task) {
  const row = element("tr");
  row.dataset.task = task.task_id;
  const status = element("td");
  status.append(element("span", task.status, `badge ${task.status}`));
  if (task.sub_status) status.append(" ", element("small", task.sub_status));
  const created = element("td");
  created.append(timeOf(task.create_time));
  const message = task.message ?? task.error?.text ?? "";
  const said = element("td", message, "message");
  said.title = message;
  row.append(status, element("td", task.service), element("td", task.task_id, "id"), created, said);
  return row;
}

function showExample(services) {
  const body = JSON.stringify({ data: { service: services[0]?.service ?? "SERVICE", condition: {} } });
  byId("example").textContent =
    `curl ${location.origin}/api/create_task \\\n  -H "Authorization: $AUTH_TOKEN" \\\n  -d '${body}'`;
}

function showData(counts, tasks) {
  byId("counts").tBodies[0].replaceChildren(...counts.map(countRow));
  byId("tasks").tBodies[0].replaceChildren(...tasks.map(taskRow));
  byId("tasks").hidden = tasks.length === 0;
  byId("empty").hidden = tasks.length > 0;
  if (tasks.length === 0) showExample(counts);
  byId("data").hidden = false;
  byId("data").classList.remove("stale");
}

function showState(text, kind) {
  byId("state").textContent = text;
  byId("state").className = kind;
}

function showProblem(text) {
  byId("problem").textContent = text;
  byId("problem").hidden = !text;
}

function askForToken(why) {
  clearTimeout(timer);
  sessionStorage.removeItem(TOKEN);
  byId("data").hidden = true;
  byId("leave").hidden = true;
  byId("enter").hidden = false;
  byId("token").value = "";
  byId("token").focus();
  showState("not signed in", "off");
  showProblem(why);
}

function onProblem(problem) {
  if (problem.status === 401) {
    askForToken("The service does not take this token.");
    return;
  }
  const words = problem instanceof Refusal ? problem.message : "the API does not answer";
  showState("no answer", "down");
  showProblem(`${words}. Asking again every ${POLL_MS / 1000} seconds; what is shown below may be old.`);
  byId("data").classList.add("stale");
}

async function refresh() {
  clearTimeout(timer);
  if (asking || !sessionStorage.getItem(TOKEN)) return;
  asking = true;
  try {
    const [counts, tasks] = [await askCounts(), await askTasks()];
    if (!sessionStorage.getItem(TOKEN)) return;
    showProblem("");
    showState(`up to date at ${new Date().toLocaleTimeString()}`, "up");
    showData(counts, tasks);
  } catch (problem) {
    onProblem(problem);
  } finally {
    asking = false;
  }
  if (sessionStorage.getItem(TOKEN) && !document.hidden) timer = setTimeout(refresh, POLL_MS);
}

function begin() {
  byId("enter").hidden = true;
  byId("leave").hidden = false;
  showState("asking", "");
  refresh();
}

byId("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, byId("token").value.trim());
  showProblem("");
  begin();
});
byId("leave").addEventListener("click", () => askForToken(""));
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) refresh();
});

if (sessionStorage.getItem(TOKEN)) begin();
else askForToken("");
