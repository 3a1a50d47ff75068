// Small pictures in the colour of the text beside them.
import { svg } from "./dom.js";

const PATHS = {
  mark: "M2 12h6M10 7h6M10 17h6M18 12h4M8 12c1 0 1-5 2-5M8 12c1 0 1 5 2 5M16 7c1 0 1 5 2 5M16 17c1 0 1-5 2-5",
  plus: "M12 5v14M5 12h14",
  theme: "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18",
  language: "M3 12h18M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0-18M12 3c5 5 5 13 0 18M12 3c-5 5-5 13 0 18",
  help: "M9 9a3 3 0 1 1 4 3c-1 .5-1 1-1 2M12 18v.01",
  leave: "M14 4h5v16h-5M4 12h10M10 8l4 4-4 4",
};

export function icon(name) {
  return svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: PATHS[name] }));
}
