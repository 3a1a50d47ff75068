// The filter of the task list: from the URL to what the API takes, and back.
import { SUBS } from "./parts.js";

export const PLAIN = ["service", "task_id"];
export const MANY = ["status", "sub_status"];
export const TIMES = ["from", "to"];
const NAMES = [...PLAIN, ...MANY, ...TIMES, "tags"];

// key=value, key=value; a comma or "=" inside is escaped by a backslash.
export function readTags(text) {
  const tags = {};
  for (const pair of text.match(/(?:\\.|[^,\\])+/g) ?? []) {
    const [, name, value] = /^\s*((?:\\.|[^=\\])+?)\s*=\s*(.*?)\s*$/s.exec(pair) ?? [];
    if (name === undefined) throw new Error(pair.trim());
    tags[bare(name)] = bare(value);
  }
  return tags;
}

const bare = (text) => text.replace(/\\(.)/gs, "$1");
const guarded = (text) => text.replace(/[\\,=]/g, "\\$&");
export const printTags = (tags) => Object.entries(tags ?? {}).map(([name, value]) => `${guarded(name)}=${guarded(value)}`).join(", ");

// What stands in the URL, cleaned of what it may not hold.
export function fromQuery(query) {
  const filter = {};
  for (const name of [...PLAIN, ...TIMES, "tags"]) if (query.get(name)) filter[name] = query.get(name);
  for (const name of MANY) if (query.getAll(name).length) filter[name] = query.getAll(name);
  return filter;
}

// A sub_status that no chosen status has would find nothing.
export function fitting(filter) {
  if (!filter.sub_status || !filter.status) return filter;
  const allowed = filter.status.flatMap((status) => SUBS[status] ?? []);
  return { ...filter, sub_status: filter.sub_status.filter((sub) => allowed.includes(sub)) };
}

// The body of /api/tasks. Throws where the tags do not read.
export function toBody(filter) {
  const body = {};
  for (const name of NAMES) if (filter[name]?.length) body[name] = name === "tags" ? readTags(filter.tags) : filter[name];
  return body;
}

// Filters by service, status and sub_status have counters and an index; the others make the API look at many tasks.
export const isCheap = (filter) => !filter.tags && !filter.from && !filter.to && !filter.task_id;
export const isEmpty = (filter) => Object.keys(filter).length === 0;

// Times in the URL are UTC; an input of a browser shows and takes local ones.
export function toLocal(iso) {
  const when = new Date(iso);
  if (!iso || Number.isNaN(when.getTime())) return "";
  const two = (value) => String(value).padStart(2, "0");
  return `${when.getFullYear()}-${two(when.getMonth() + 1)}-${two(when.getDate())}T${two(when.getHours())}:${two(when.getMinutes())}`;
}

export const toIso = (local) => (local ? new Date(local).toISOString() : "");
