// The attempts of a task as a picture: one row a run, one axis of time for all; how long it waited and ran.
import { h, setText, svg } from "./dom.js";
import { duration, moment, secondsBetween } from "./format.js";
import { t } from "./i18n.js";

const SHOWN = 20;
const TICKS = 5;
const GOOD = "finished";

const at = (time) => (time ? Date.parse(time) : null);

function scale(answer) {
  const runs = [...answer.data, ...(answer.next ? [answer.next] : [])];
  const open = runs.some((run) => !run.ended_time);
  const times = runs.flatMap((run) => [run.queued_time, run.claimed_time, run.ended_time]).map(at).filter((time) => time !== null);
  const from = times.length ? Math.min(...times) : at(answer.create_time);
  const to = Math.max(open ? Date.now() : 0, ...times, from + 1);
  return { from, to, percent: (time) => ((time - from) * 100) / (to - from) };
}

function block(place, from, to, kind) {
  if (from === null || to === null || to < from) return null;
  const x = place.percent(from);
  return svg("rect", { x: `${x}%`, y: 4, width: `${Math.max(0.15, place.percent(to) - x)}%`, height: 12, rx: 2, class: kind });
}

function mark(place, time, kind) {
  if (time === null) return null;
  const x = `${place.percent(time)}%`;
  return svg("line", { x1: x, x2: x, y1: 1, y2: 19, class: kind });
}

const outcome = (run) => (run.end ? t(`end_${run.end}`) : run.claimed_time ? t("status_running") : t("status_waiting"));
const tint = (run) => (!run.end ? `ran ${run.claimed_time ? "running" : "waiting"}` : run.end === GOOD ? "ran finished" : run.end === "handed_back" ? "ran back" : "ran failed");

function words(run) {
  const parts = [];
  if (run.queued_time && run.claimed_time) parts.push(t("waited", { time: duration(secondsBetween(run.queued_time, run.claimed_time)) }));
  if (run.claimed_time) parts.push(t("ran", { time: duration(secondsBetween(run.claimed_time, run.ended_time)) }));
  return parts.join(", ");
}

// Every time of a run, for the pointer and for whoever does not see the picture.
function every(run) {
  const names = ["queued_time", "produced_time", "claimed_time", "started_time", "first_output_time", "ended_time"];
  const lines = names.filter((name) => run[name]).map((name) => `${t(name)}: ${moment(run[name])}`);
  if (run.message?.topic) lines.push(`${run.message.topic} / ${run.message.partition} @ ${run.message.offset}`);
  if (run.error?.text) lines.push(run.error.text);
  return lines.join("\n");
}

function picture(run, place) {
  const queued = at(run.queued_time), claimed = at(run.claimed_time), ended = at(run.ended_time);
  const now = place.to;
  const label = `${outcome(run)}. ${words(run)}`;
  return svg("svg", { class: "run", height: 20, width: "100%", role: "img", "aria-label": label }, svg("title", {}, every(run)),
    svg("line", { x1: "0", x2: "100%", y1: 10, y2: 10, class: "axis" }),
    block(place, queued, claimed ?? now, "queued"), claimed !== null ? block(place, claimed, ended ?? now, tint(run)) : null, mark(place, at(run.first_output_time), "output"));
}

function row(run, place) {
  return h("li", { class: "attempt", "data-end": run.end ?? "" },
    h("span", { class: "n" }, run.attempt ? `#${run.attempt}` : "…"), picture(run, place),
    h("span", { class: `how ${tint(run).split(" ")[1]}` }, outcome(run)), h("small", {}, [words(run), run.worker].filter(Boolean).join(" · ")));
}

function axis(place) {
  const span = (place.to - place.from) / 1000;
  return h("li", { class: "attempt scale", "aria-hidden": "true" }, h("span", { class: "n" }),
    svg("svg", { class: "run", height: 18, width: "100%" }, Array.from({ length: TICKS }, (_, i) => {
      const x = `${(i * 100) / (TICKS - 1)}%`;
      return svg("text", { x, y: 12, class: i % (TICKS - 1) ? "minor" : undefined, "text-anchor": i === 0 ? "start" : i === TICKS - 1 ? "end" : "middle" }, i === 0 ? moment(place.from) : `+${duration((span * i) / (TICKS - 1))}`);
    })), h("span", {}), h("span", {}));
}

export function timeline() {
  let all = false;
  let last = null;
  const list = h("ol", { class: "timeline", id: "timeline" });
  const none = h("p", { class: "nothing" }, t("no_runs"));
  const more = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => {
    all = true;
    show(last);
  } });

  function show(answer) {
    last = answer;
    const runs = [...answer.data, ...(answer.next ? [answer.next] : [])];
    const seen = all ? runs : runs.slice(-SHOWN);
    const place = scale({ ...answer, data: all ? answer.data : answer.data.slice(-SHOWN) });
    none.hidden = runs.length > 0;
    more.hidden = seen.length === runs.length;
    setText(more, t("earlier_runs", { n: runs.length - seen.length }));
    const text = JSON.stringify([seen, Math.round(place.to / 1000)]);
    if (text === list.shownText) return;
    list.shownText = text;
    list.replaceChildren(...seen.map((run) => row(run, place)), ...(runs.length ? [axis(place)] : []));
  }
  return { node: h("section", { class: "card" }, h("h2", {}, t("timeline")), none, more, list), show };
}
