// Dialogs, and short words at the edge of the page that go by themselves.
import { h, setText } from "./dom.js";
import { t } from "./i18n.js";
import { problemBox } from "./parts.js";

const TOAST_MS = 6000;

export function toast(text, kind = "good") {
  const note = h("p", { class: `toast ${kind}` }, text);
  document.getElementById("toasts").append(note);
  setTimeout(() => note.remove(), TOAST_MS);
}

let serial = 0;

// A dialog with a heading, a body and buttons. An action's run() may be asynchronous: the dialog waits for it, shows what it throws
// and stays open then; it closes unless run() gives false.
export function openDialog({ title, body, actions = [], onClose, wide }) {
  const id = `dialog-${++serial}`;
  const problem = problemBox();
  const buttons = actions.map((action) =>
    h("button", { type: action.submit ? "submit" : "button", class: action.kind ?? "", onclick: action.submit ? undefined : () => run(action) }, action.label));
  const close = h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, t(actions.length ? "cancel_dialog" : "close"));
  const form = h("form", { method: "dialog" }, h("h2", { id }, title), h("div", { class: "body" }, body), problem,
                 h("div", { class: "buttons" }, close, buttons));
  const dialog = h("dialog", { "aria-labelledby": id, class: wide ? "wide" : "" }, form);

  async function run(action) {
    buttons.forEach((button) => (button.disabled = true));
    problem.hidden = true;
    try {
      if ((await action.run()) !== false) dialog.close();
    } catch (fault) {
      setText(problem, fault.message);
      problem.hidden = false;
    } finally {
      buttons.forEach((button) => (button.disabled = false));
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const action = actions.find((one) => one.submit);
    if (action) run(action);
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !buttons.some((button) => button.disabled)) form.requestSubmit();
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    onClose?.();
  });
  document.body.append(dialog);
  dialog.showModal();
  return { dialog, buttons, close: () => dialog.close() };
}

export const field = (label, input, hint) =>
  h("label", { class: "field" }, h("span", {}, label), input, hint ? h("small", {}, hint) : null);
