// Numbers, times and durations as people read them.
import { language, t } from "./i18n.js";

const locale = () => (language() === "zh" ? "zh-CN" : "en-GB");

export const number = (value) => (value === null || value === undefined ? "–" : value.toLocaleString(locale()));

export function compact(value) {
  if (value === null || value === undefined) return "–";
  return value < 10000 ? number(value) : value.toLocaleString(locale(), { notation: "compact", maximumFractionDigits: 1 });
}

// 0.42 s, 12 s, 3 m 05 s, 2 h 14 m, 3 d 4 h
export function duration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  if (seconds < 0.001) return "0 s";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const s = Math.round(seconds);
  const two = (value) => String(value).padStart(2, "0");
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} m ${two(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))} m`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export const secondsBetween = (from, to) => (from ? ((to ? Date.parse(to) : Date.now()) - Date.parse(from)) / 1000 : null);

export function ago(time) {
  const seconds = secondsBetween(time);
  if (seconds === null) return "–";
  if (seconds < 1) return t("just_now");
  return t("ago", { time: seconds < 10 ? `${Math.round(seconds)} s` : duration(seconds) });
}

export const clock = (time) => new Date(time).toLocaleTimeString(locale(), { hour12: false });

// The time of today, else the date too.
export function moment(time) {
  if (!time) return "–";
  const when = new Date(time);
  const today = when.toDateString() === new Date().toDateString();
  const day = when.toLocaleDateString(locale(), { month: "short", day: "numeric" });
  return today ? clock(when) : `${day} ${clock(when)}`;
}

export function bytes(value) {
  if (value < 1024) return `${value} B`;
  return value < 1 << 20 ? `${(value / 1024).toFixed(1)} KiB` : `${(value / (1 << 20)).toFixed(1)} MiB`;
}

// A part of one line.
export const shorten = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
