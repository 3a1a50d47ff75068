// The forms that write a task: a new one, and another condition for one that is there. What is sent is the text that was typed.
import { ask, askText, isPassing } from "./api.js";
import { field, openDialog, toast } from "./dialogs.js";
import { h, setText } from "./dom.js";
import { printTags, readTags } from "./filters.js";
import { t } from "./i18n.js";
import { JsonFault, parse, print } from "./json_text.js";
import { go, here, link } from "./router.js";

const AGAIN_MS = 1000;

// A text of JSON, judged while it is typed.
function jsonInput(id, text) {
  const problem = h("p", { class: "problem", id: `${id}-problem`, role: "alert", hidden: true });
  const input = h("textarea", { id, rows: "9", spellcheck: "false", "aria-describedby": `${id}-problem`, oninput: check });
  input.value = text;
  let fault = null;

  function check() {
    fault = null;
    try {
      parse(input.value);
    } catch (found) {
      if (!(found instanceof JsonFault)) throw found;
      fault = found;
    }
    problem.hidden = !fault;
    input.setAttribute("aria-invalid", fault ? "true" : "false");
    if (fault) setText(problem, t("json_at", { line: fault.line, column: fault.column, what: t(fault.kind) }));
  }

  return {
    node: h("div", {}, field(t("condition"), input, t("condition_hint")), problem),
    // The text, or an Error; the cursor stands where the fault is.
    text() {
      check();
      if (!fault) return input.value;
      input.focus();
      input.setSelectionRange(fault.at, Math.min(fault.at + 1, input.value.length));
      throw new Error(problem.textContent);
    },
  };
}

function numberInput(id, attributes) {
  const node = h("input", { id, type: "number", ...attributes });
  return { node, value: () => (node.value === "" ? undefined : Number(node.value)), bad: () => node.validity && !node.validity.valid };
}

// The members that are set, as JSON text after the first ones.
const members = (options) => Object.entries(options).filter(([, value]) => value !== undefined).map(([name, value]) => `,${JSON.stringify(name)}:${JSON.stringify(value)}`).join("");

function options(like) {
  const inputs = {
    priority: numberInput("c-priority", { min: "0", max: "9", step: "1", placeholder: "4", value: like.priority ?? "" }),
    delay_s: numberInput("c-delay", { min: "0", step: "any", placeholder: "0" }),
    timeout_s: numberInput("c-timeout", { min: "0", step: "any", value: like.timeout_s ?? "" }),
    max_attempts: numberInput("c-attempts", { min: "1", step: "1", value: like.max_attempts ?? "" }),
  };
  const tags = h("input", { id: "c-tags", spellcheck: "false", autocomplete: "off", placeholder: "team=blue, kind=nightly", value: printTags(like.tags) });
  const node = h("div", { class: "fields" }, Object.entries(inputs).map(([name, input]) => field(t(name), input.node)), field(t("tags"), tags));
  return {
    node,
    read() {
      for (const input of Object.values(inputs)) if (input.bad()) {
        input.node.focus();
        throw new Error(input.node.validationMessage);
      }
      try {
        const read = readTags(tags.value);
        return { ...Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, input.value()])), tags: Object.keys(read).length ? read : undefined };
      } catch (fault) {
        throw new Error(t("bad_tags", { text: fault.message }));
      }
    },
  };
}

// The names of the services, asked for while the API is away and somebody waits for them; null: they are not told.
async function servicesWhile(wanted) {
  for (;;) {
    try {
      return (await ask("service_task", {})).data;
    } catch (problem) {
      if (!isPassing(problem)) return null;
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      if (!wanted()) return null;
    }
  }
}

// `like`: a task to begin with.
export async function openCreate(like = {}) {
  const chosen = like.service ?? here().query.get("service");
  const service = h("select", { id: "c-service", required: true });
  const condition = jsonInput("c-condition", like.condition === undefined ? "{}" : print(like.condition));
  const more = options(like);
  const hold = h("input", { type: "checkbox", id: "c-hold" });

  async function create() {
    const text = condition.text();
    const rest = members({ ...more.read(), start: hold.checked ? false : undefined });
    const body = `{"data":{"service":${JSON.stringify(service.value)},"condition":${text}${rest}}}`;
    const { task_id } = await askText("/api/create_task", body);
    toast(t("created_task"));
    go(link("task", task_id));
  }

  const { dialog } = openDialog({ title: t("create_title"), wide: true, body: [field(t("service"), service), condition.node, more.node,
    h("label", { class: "check" }, hold, h("span", {}, t("hold_label")))], actions: [{ label: t("create"), kind: "primary", submit: true, run: create }] });
  const names = (await servicesWhile(() => dialog.open)) ?? (chosen ? [chosen] : []);
  service.replaceChildren(...names.map((name) => h("option", { value: name }, name)));
  if (names.includes(chosen)) service.value = chosen;
}

export function openEdit(task, onDone) {
  const condition = jsonInput("e-condition", print(task.condition));
  openDialog({ title: t("edit_title"), wide: true, body: [h("p", { class: "id" }, task.task_id), condition.node], actions: [{ label: t("save"), kind: "primary", submit: true, run: async () => {
    const text = condition.text();
    await askText("/api/update_task", `{"data":{"task_id":${JSON.stringify(task.task_id)},"condition":${text}}}`);
    toast(t("edited"));
    onDone();
  } }] });
}
