// Charts over time by uPlot, in the page's colours, with a legend that tells the values under the pointer, else the newest ones.
import { h, keyed, setText } from "./dom.js";
import { clock, compact, duration } from "./format.js";
import { t } from "./i18n.js";

const HEIGHT = 160;
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const FORMATS = { count: compact, seconds: duration, rate: (value) => (value === null || value === undefined ? "–" : `${compact(Math.round(value * 10) / 10)}`) };
const rates = FORMATS.rate;

// Ticks of an axis of seconds stand on whole minutes and hours.
const STEPS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 43200, 86400, 172800, 432000, 864000];

function tick(seconds) {
  if (seconds === 0) return "0";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  const [size, unit] = seconds < 60 ? [1, "s"] : seconds < 3600 ? [60, "m"] : seconds < 86400 ? [3600, "h"] : [86400, "d"];
  return `${Math.round((seconds * 10) / size) / 10} ${unit}`;
}

function axis(extra) {
  return { stroke: () => colour("soft"), font: "11px system-ui, sans-serif", grid: { stroke: () => colour("grid"), width: 1 },
           ticks: { stroke: () => colour("grid"), width: 1, size: 4 }, ...extra };
}

// Values without a neighbour, which are no part of a line.
function alone(plot, index) {
  const values = plot.data[index];
  const isThere = (i) => (values[i] ?? null) !== null;
  return [...values.keys()].filter((i) => isThere(i) && !isThere(i - 1) && !isThere(i + 1));
}

function options(series, unit, format, width, onCursor) {
  const valueAxis = unit === "seconds" ? { values: (plot, values) => values.map(tick), incrs: STEPS } : { values: (plot, values) => values.map(format) };
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    padding: [6, 10, 0, 0],
    cursor: { sync: { key: "history" }, points: { size: 6 }, drag: { x: false, y: false } },
    scales: { y: { range: (plot, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
    axes: [
      axis({ values: (plot, times) => times.map((time) => clock(time * 1000).slice(0, 5)), space: 60, size: 26, gap: 3 }),
      axis({ ...valueAxis, size: 56, space: 30 }),
    ],
    series: [{}, ...series.map(({ colour: name, dash, fill }) => ({
      stroke: () => colour(name),
      fill: fill ? () => `${colour(name)}22` : undefined,
      width: 1.6,
      dash,
      spanGaps: false,
      points: { show: false, filter: alone, size: 4, width: 0, fill: () => colour(name) },
    }))],
    hooks: { setCursor: [onCursor] },
  };
}

// series: [{ label, colour, dash?, fill? }]; unit: a key of FORMATS. show(times, values): seconds, and one array for each series.
export function chart({ title, note, series, unit }) {
  const format = FORMATS[unit] ?? rates;
  const legend = h("ul", { class: "legend" });
  const empty = h("p", { class: "nothing", hidden: true }, t("no_history"));
  const canvas = h("div", { class: "plot", role: "img", "aria-label": title });
  const node = h("section", { class: "card chart" }, h("h2", {}, title, note ? h("small", {}, note) : null), legend, canvas, empty);
  let plot = null;
  let data = [[], ...series.map(() => [])];

  function newest(values) {
    for (let i = values.length - 1; i >= 0; i--) if (values[i] !== null) return values[i];
    return null;
  }

  function tell() {
    const at = plot?.cursor.idx;
    const rows = series.map((one, i) => ({ ...one, value: at === null || at === undefined ? newest(data[i + 1]) : data[i + 1][at] }));
    keyed(legend, rows, (row) => row.label, (row) => h("li", {}, h("i", { class: `dot ${row.colour}${row.dash ? " dashed" : ""}` }), h("span", {}, row.label), h("b", {})),
          (item, row) => setText(item.lastChild, format(row.value)));
    canvas.setAttribute("aria-label", `${title}: ${rows.map((row) => `${row.label} ${format(row.value)}`).join(", ")}`);
  }

  function draw() {
    plot?.destroy();
    plot = null;
    if (canvas.clientWidth > 0 && data[0].length) plot = new window.uPlot(options(series, unit, format, canvas.clientWidth, tell), data, canvas);
  }

  const watcher = new ResizeObserver(() => {
    if (!plot) draw();
    else if (plot.width !== canvas.clientWidth && canvas.clientWidth > 0) plot.setSize({ width: canvas.clientWidth, height: HEIGHT });
  });
  watcher.observe(canvas);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", draw);
  window.addEventListener("theme", draw);

  return {
    node,
    show(times, values) {
      data = [times, ...values];
      empty.hidden = values.some((one) => one.some((value) => value !== null));
      if (plot) plot.setData(data);
      else draw();
      tell();
    },
    stop() {
      watcher.disconnect();
      scheme.removeEventListener("change", draw);
      window.removeEventListener("theme", draw);
      plot?.destroy();
    },
  };
}
