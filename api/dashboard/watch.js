// Is told of changes by /api/watch: Server-Sent Events, read with fetch, since the token stands in a header. Only what is seen is
// watched. Where the API has no room for another watcher, or is away, whoever uses this goes on asking.
import { headers, refused } from "./api.js";

const AGAIN_MS = 3000;
const MOST = 1 << 22; // characters of one event
const NEVER = [400, 401, 403, 404, 405];

// One block of the stream: { event, data } or null.
function readBlock(block) {
  const fields = {};
  for (const line of block.split("\n")) {
    const [, name, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
    if (name) fields[name] = value;
  }
  return fields.event ? { event: fields.event, data: JSON.parse(fields.data ?? "null") } : null;
}

async function readStream(answer, onEvent) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    if (text.length > MOST) throw new Error("an event without an end");
    for (const block of blocks) {
      const read = readBlock(block);
      if (read) onEvent(read.event, read.data);
    }
  }
}

// onEvent(event, data) hears "status", "progress" and "gap" of these tasks; `works()` says whether it may be relied on now.
export function watch(task_id, onEvent) {
  let connection = null;
  let timer = 0;
  let works = false;
  let over = false;

  async function connect() {
    connection = new AbortController();
    const { signal } = connection;
    let again = true;
    try {
      const answer = await fetch("/api/watch", { method: "POST", headers: headers(), body: JSON.stringify({ data: { task_id } }), signal });
      again = !NEVER.includes(answer.status);
      if (answer.ok) {
        works = true;
        await readStream(answer, onEvent);
      } else {
        await answer.body?.cancel();
        if (answer.status === 401) refused();
      }
    } catch {
      // the API is away; the one who asks finds out too
    }
    works = false;
    if (again && !over && !signal.aborted) timer = setTimeout(connect, AGAIN_MS);
  }

  function onSeen() {
    clearTimeout(timer);
    connection?.abort();
    if (!document.hidden) connect();
  }

  document.addEventListener("visibilitychange", onSeen);
  onSeen();
  return {
    works: () => works,
    stop() {
      over = true;
      clearTimeout(timer);
      connection?.abort();
      document.removeEventListener("visibilitychange", onSeen);
    },
  };
}
