// The last minutes, hours or the day as charts: POST /api/history_task, every step anew. Span and service stand in the URL.
import { ask } from "./api.js";
import { chart } from "./charts.js";
import { h, setText } from "./dom.js";
import { t } from "./i18n.js";
import { live } from "./live.js";
import { fillProblem, offer, problemBox } from "./parts.js";
import { go, here, link } from "./router.js";

const SPANS = [900, 3600, 21600, 86400];
const DEFAULT_SPAN = 3600;
const SUMMED = ["created", "claimed", "finished", "failed", "waiting", "running"];

const plus = (a, b) => (a === null ? b : b === null ? a : a + b);
const most = (a, b) => (a === null ? b : b === null ? a : Math.max(a, b));

// All services as one: counts are added up; of ages and durations the worst service counts, for percentiles do not add.
export function merged(services) {
  const whole = {};
  for (const one of Object.values(services))
    for (const [name, values] of Object.entries(one)) {
      const join = SUMMED.includes(name) ? plus : most;
      whole[name] = whole[name] ? whole[name].map((value, i) => join(value, values[i])) : values;
    }
  return whole;
}

function charts() {
  return {
    flow: chart({ title: t("chart_flow"), note: t("per_minute"), unit: "rate", series: [
      { label: t("created"), colour: "created" }, { label: t("status_finished"), colour: "finished", fill: true },
      { label: t("status_failed"), colour: "failed", dash: [5, 3] }] }),
    waiting: chart({ title: t("chart_waiting"), unit: "count", series: [
      { label: t("status_waiting"), colour: "waiting", fill: true }, { label: t("status_running"), colour: "running" }] }),
    oldest: chart({ title: t("chart_oldest"), unit: "seconds", series: [{ label: t("oldest"), colour: "waiting", fill: true }] }),
    durations: chart({ title: t("chart_durations"), unit: "seconds", series: [
      { label: t("run_p50"), colour: "running" }, { label: t("run_p95"), colour: "running", dash: [5, 3] },
      { label: t("wait_p50"), colour: "waiting" }, { label: t("wait_p95"), colour: "waiting", dash: [5, 3] }] }),
  };
}

export function history(place) {
  const all = charts();
  const problem = problemBox();
  const span = h("select", { id: "span", "aria-label": t("span"), onchange: moveTo }, SPANS.map((s) => h("option", { value: String(s) }, t(`span_${s}`))));
  const service = h("select", { id: "history-service", "aria-label": t("service"), onchange: moveTo }, h("option", { value: "" }, t("all_services")));
  const note = h("small", { class: "soft" });
  const node = h("section", { class: "past", "aria-label": t("past") }, h("div", { class: "bar" }, h("h2", {}, t("past")), note, service, span), problem,
                 h("div", { class: "charts" }, Object.values(all).map((one) => one.node)));
  let wanted = {};

  function moveTo() {
    go(link("overview", "", { span: span.value === String(DEFAULT_SPAN) ? "" : span.value, service: service.value }));
  }

  function read({ query }) {
    const asked = Number(query.get("span"));
    wanted = { span_s: SPANS.includes(asked) ? asked : DEFAULT_SPAN, service: query.get("service") || undefined };
    span.value = String(wanted.span_s);
    if (wanted.service) offer(service, [wanted.service]);
    service.value = wanted.service ?? "";
    setText(note, wanted.service ? "" : t("worst_service"));
  }

  function show({ step_s, from, services }) {
    const whole = merged(services);
    const length = whole.created?.length ?? 0;
    const first = Date.parse(from) / 1000;
    const times = Array.from({ length }, (_, i) => first + i * step_s);
    const perMinute = (values) => values.map((value) => (value === null ? null : (value * 60) / step_s));
    if (length === 0) return;
    all.flow.show(times, [whole.created, whole.finished, whole.failed].map(perMinute));
    all.waiting.show(times, [whole.waiting, whole.running]);
    all.oldest.show(times, [whole.oldest_s]);
    all.durations.show(times, [whole.run_p50_s, whole.run_p95_s, whole.wait_p50_s, whole.wait_p95_s]);
  }

  read(place);
  let step = 10;
  const loop = live(async (signal) => {
    const asked = JSON.stringify(wanted);
    const [answer, names] = await Promise.all([ask("history_task", wanted, { signal }), service.options.length > 1 ? null : ask("service_task", {}, { signal })]);
    if (names) offer(service, names.data);
    if (asked !== JSON.stringify(wanted)) return;
    step = answer.step_s;
    show(answer);
  }, { everyMs: () => Math.min(step, 30) * 1000, onProblem: (fault) => fillProblem(problem, fault) });

  return {
    node,
    moved(next) {
      if (here().view !== "overview") return false;
      read(next);
      loop.now();
      return true;
    },
    stop() {
      loop.stop();
      Object.values(all).forEach((one) => one.stop());
    },
  };
}
