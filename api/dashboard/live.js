// Keeps something up to date: asks again and again while the page is seen, sooner when somebody says that it changed.
import { isPassing } from "./api.js";

const LATER_MS = 2000;
const SOON_MS = 200; // what changes in a burst is asked for once

// refresh() gets a signal that ends it. onProblem(problem) hears what it throws, null after it went well.
export function live(refresh, { everyMs = 2000, onProblem = () => {} } = {}) {
  let timer = 0;
  let soonTimer = 0;
  let running = null;
  let wanted = false;
  let stopped = false;
  const period = () => (typeof everyMs === "function" ? everyMs() : everyMs);

  async function turn() {
    clearTimeout(timer);
    if (stopped || document.hidden) return;
    if (running) {
      wanted = true;
      return;
    }
    wanted = false;
    running = new AbortController();
    let next = LATER_MS;
    try {
      await refresh(running.signal);
      if (!stopped) onProblem(null);
      next = period();
    } catch (problem) {
      if (stopped) return;
      next = isPassing(problem) ? Math.max(LATER_MS, problem.retryAfterMs ?? 0) : period();
      onProblem(problem);
    } finally {
      running = null;
    }
    if (!stopped) timer = setTimeout(turn, wanted ? 0 : next);
  }

  const onSeen = () => turn();
  document.addEventListener("visibilitychange", onSeen);
  turn();
  return {
    now: turn,
    soon() {
      if (soonTimer || stopped) return;
      soonTimer = setTimeout(() => {
        soonTimer = 0;
        turn();
      }, SOON_MS);
    },
    stop() {
      stopped = true;
      clearTimeout(soonTimer);
      clearTimeout(timer);
      running?.abort();
      document.removeEventListener("visibilitychange", onSeen);
    },
  };
}
