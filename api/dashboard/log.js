// What a run prints, while it prints it: each stream in a pane of its own, followed by logs_task calls that wait. A pane keeps its
// last lines only; it goes on from its offset, whatever happens to the connection.
import { ask, isPassing } from "./api.js";
import { h, setText } from "./dom.js";
import { bytes, number } from "./format.js";
import { t } from "./i18n.js";
import { fillProblem, problemBox } from "./parts.js";

const WAIT_S = 20;
const LAST_LINES = 500; // read at first
const MOST_LINES = 2000; // kept in the page
const MOST_LINE = 4000; // characters of one line that are shown
const PIECE_BYTES = 262144;
const AGAIN_MS = 2000;
const NEAR_END_PX = 24;
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\))/g;

const sleep = (ms, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, ms);
  signal.addEventListener("abort", () => {
    clearTimeout(timer);
    resolve();
  }, { once: true });
});

// Until the page is seen: a tab in the background holds no connection.
const seen = (signal) => new Promise((resolve) => {
  if (!document.hidden || signal.aborted) return resolve();
  const done = () => {
    if (document.hidden && !signal.aborted) return;
    document.removeEventListener("visibilitychange", done);
    resolve();
  };
  document.addEventListener("visibilitychange", done);
  signal.addEventListener("abort", done, { once: true });
});

// A list of lines, of which the last one may still grow.
function lines(box) {
  let tail = null; // the text node of a line that has not ended
  let left = 0; // lines that were taken away at the top

  function line(text, kind) {
    const node = h("div", { class: kind ?? "" }, text.length > MOST_LINE ? `${text.slice(0, MOST_LINE)}…` : text);
    box.append(node);
    return node;
  }

  function trim() {
    while (box.childElementCount > MOST_LINES) {
      box.firstChild.remove();
      left++;
    }
  }

  return {
    add(text) {
      const parts = text.replace(/\r\n/g, "\n").split("\n");
      const skip = Math.max(0, parts.length - MOST_LINES - 1);
      left += skip;
      for (let i = skip; i < parts.length; i++) {
        const part = parts[i].replace(ESCAPES, "").replace(/^.*\r/s, "");
        if (tail && i === 0) setText(tail, `${tail.textContent}${part}`.slice(0, MOST_LINE));
        else if (i < parts.length - 1 || part) tail = line(part);
        if (i < parts.length - 1) tail = null;
      }
      trim();
    },
    note: (text) => {
      tail = null;
      line(text, "note");
    },
    clear() {
      box.replaceChildren();
      tail = null;
      left = 0;
    },
    left: () => left,
    any: () => box.childElementCount > 0,
  };
}

function pane(taskId, stream) {
  const box = h("div", { class: "lines", tabindex: "0", role: "log", "aria-live": "off", "aria-label": stream, id: `log-${stream}` });
  const shown = lines(box);
  const count = h("small", {});
  const state = h("small", { class: "log-state" });
  const problem = problemBox();
  const follow = h("button", { type: "button", class: "quiet", "aria-pressed": "true", onclick: () => setFollow(!following) });
  const start = h("button", { type: "button", class: "quiet", onclick: () => open(attempt, 0) }, t("from_start"));
  const save = h("button", { type: "button", class: "quiet", onclick: () => download() }, t("download"));
  const node = h("section", { class: "pane", "data-stream": stream }, h("div", { class: "bar" }, h("h3", {}, stream), count, state, follow, start, save), problem, box);
  let attempt, offset, aborter, following = true, ended = false;

  function fill() {
    follow.hidden = ended;
    setText(follow, following ? t("pause_log") : t("follow"));
    follow.setAttribute("aria-pressed", String(following));
    setText(state, ended ? t("log_end") : following ? t("log_live") : t("log_paused"));
    state.dataset.state = ended ? "end" : following ? "live" : "paused";
    const away = shown.left();
    setText(count, [offset === undefined ? "" : bytes(offset), away ? t("lines_above", { n: number(away) }) : ""].filter(Boolean).join(" · "));
    box.classList.toggle("empty", !shown.any());
    box.dataset.empty = ended ? t("log_empty") : t("log_none_yet");
  }

  function setFollow(wanted) {
    following = wanted;
    fill();
    if (following) {
      box.scrollTop = box.scrollHeight;
      if (!ended) run();
    } else aborter?.abort();
  }

  // New lines keep the end in sight only for whoever stands there.
  function take(answer) {
    const near = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_END_PX;
    if (answer.skipped) shown.note(t("log_cut", { size: bytes(answer.skipped) }));
    if (answer.text) shown.add(answer.text);
    offset = answer.offset;
    ended = answer.is_end;
    if (near) box.scrollTop = box.scrollHeight;
    fill();
  }

  async function step(signal) {
    await seen(signal);
    if (signal.aborted) return;
    const place = offset === undefined ? { lines: LAST_LINES } : { offset, bytes: PIECE_BYTES };
    const answer = await ask("logs_task", { task_id: taskId, stream, attempt, ...place, wait_s: offset === undefined ? 0 : WAIT_S },
                             { signal, timeoutMs: (WAIT_S + 15) * 1000 });
    if (signal.aborted) return;
    fillProblem(problem, null);
    take(answer);
  }

  async function run() {
    aborter?.abort();
    aborter = new AbortController();
    const { signal } = aborter;
    while (!signal.aborted && !ended) {
      try {
        await step(signal);
      } catch (fault) {
        if (signal.aborted) return;
        if (fault.code === "UNAUTHORIZED") return;
        fillProblem(problem, fault);
        if (!isPassing(fault)) return;
        await sleep(fault.retryAfterMs || AGAIN_MS, signal);
      }
    }
  }

  function open(number_, from) {
    aborter?.abort();
    attempt = number_;
    offset = from;
    ended = false;
    following = true;
    shown.clear();
    fill();
    if (attempt) run();
  }

  async function download() {
    const parts = [];
    try {
      for (let from = 0, end = false; !end;) {
        const answer = await ask("logs_task", { task_id: taskId, stream, attempt, offset: from, bytes: 1 << 20 });
        if (answer.skipped) parts.push(`\n[${t("log_cut", { size: bytes(answer.skipped) })}]\n`);
        parts.push(answer.text);
        end = answer.is_end || (answer.offset === from && !answer.text);
        from = answer.offset;
      }
    } catch (fault) {
      return fillProblem(problem, fault);
    }
    const url = URL.createObjectURL(new Blob(parts, { type: "text/plain" }));
    h("a", { href: url, download: `${taskId}.${attempt}.${stream}.log` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  fill();
  return { node, open, setFollow, following: () => following, stop: () => aborter?.abort() };
}

// The log of a task: its newest attempt, unless another one is chosen.
export function logView(taskId) {
  const panes = ["stdout", "stderr"].map((stream) => pane(taskId, stream));
  const choice = h("select", { id: "attempt", "aria-label": t("attempt"), onchange: () => choose(choice.value) });
  const none = h("p", { class: "nothing" }, t("no_log"));
  const body = h("div", { class: "panes" }, panes.map((one) => one.node));
  let wanted = "latest";
  let open = null;
  let attempts = [];

  function choose(value) {
    wanted = value;
    const attempt = value === "latest" ? attempts[attempts.length - 1] : Number(value);
    if (attempt === open) return;
    open = attempt;
    for (const one of panes) one.open(attempt);
  }

  function show(numbers) {
    if (numbers.join() !== attempts.join()) {
      attempts = numbers;
      choice.replaceChildren(h("option", { value: "latest" }, t("latest_attempt")), ...[...attempts].reverse().map((n) => h("option", { value: String(n) }, t("attempt_n", { n }))));
      choice.value = wanted;
    }
    none.hidden = attempts.length > 0;
    body.hidden = attempts.length === 0;
    choice.hidden = attempts.length === 0;
    if (attempts.length) choose(wanted);
  }

  return {
    node: h("section", { class: "card log" }, h("div", { class: "bar" }, h("h2", {}, t("log")), choice), none, body),
    show,
    toggle() {
      const wanted_ = !panes[0].following();
      for (const one of panes) one.setFollow(wanted_);
    },
    stop: () => panes.forEach((one) => one.stop()),
  };
}
