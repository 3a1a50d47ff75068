// Calls of the API. The token is kept in this tab's session and nowhere else; whoever listens is told when it is refused, when the
// API does not answer, when it does again, and what the token may do.
import { parse, plain } from "./json_text.js";

const TOKEN = "longhaul-token";
const TIMEOUT_MS = 15000;
const ANSWER_DEEPEST = 80; // a condition of 64 in an answer

const listeners = { refused: [], away: [], back: [], scopes: [] };
let away = false;
let lastAnswer = 0;

export class Refusal extends Error {
  constructor(status, answer, retryAfter) {
    super(answer.message || `HTTP ${status}`);
    this.status = status;
    this.code = answer.code ?? "";
    this.answer = answer;
    this.retryAfterMs = 1000 * Number(retryAfter || 0);
  }
}

export class Away extends Error {}

const LATER = ["QUEUE_FULL", "RATE_LIMITED", "STORE_UNAVAILABLE", "OVERLOADED", "DRAINING", "OUTCOME_UNKNOWN"];

// That the same call may be made again after a while.
export const isPassing = (problem) => problem instanceof Away || (problem instanceof Refusal && LATER.includes(problem.code));

export const token = () => sessionStorage.getItem(TOKEN);
export const setToken = (text) => sessionStorage.setItem(TOKEN, text);
export const forgetToken = () => sessionStorage.removeItem(TOKEN);
export const isAway = () => away;
export const answeredAt = () => lastAnswer;

export function listen(what, call) {
  listeners[what].push(call);
}

function tell(what, argument) {
  for (const call of listeners[what]) call(argument);
}

function setAway(now) {
  if (!now) lastAnswer = Date.now();
  if (away === now) return;
  away = now;
  tell(now ? "away" : "back");
}

export const refused = () => tell("refused");

export function headers() {
  return { Authorization: token() ?? "", "Content-Type": "application/json" };
}

async function send(route, text, signal, timeoutMs) {
  const limits = [AbortSignal.timeout(timeoutMs)];
  if (signal) limits.push(signal);
  try {
    const answer = await fetch(route, { method: "POST", headers: headers(), body: text, signal: AbortSignal.any(limits) });
    return [answer, await answer.text()];
  } catch (problem) {
    if (signal?.aborted) throw problem;
    setAway(true);
    throw new Away(String(problem?.message ?? problem));
  }
}

// A proxy's words, or those of a service that is going down, are no answer of the API.
function read(answer, text) {
  try {
    return parse(text, ANSWER_DEEPEST);
  } catch {
    setAway(true);
    throw new Away(`HTTP ${answer.status}`);
  }
}

// Sends a body's text as it is. The members that `keep` names come back as json_text.parse gives them.
export async function askText(route, text, { signal, keep, timeoutMs = TIMEOUT_MS } = {}) {
  const [answer, said] = await send(route, text, signal, timeoutMs);
  const parsed = plain(read(answer, said), keep);
  setAway(false);
  if (parsed.result === "ok") {
    if (parsed.scopes) tell("scopes", parsed.scopes);
    return parsed;
  }
  const refusal = new Refusal(answer.status, parsed, answer.headers.get("Retry-After"));
  if (refusal.code === "UNAUTHORIZED") refused();
  throw refusal;
}

export const ask = (route, data, options) => askText(`/api/${route}`, JSON.stringify({ data }), options);
