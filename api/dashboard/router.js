// Where the page is: #/view/argument?filters. Links are plain links; the browser's history works.

// What somebody typed may be no such text.
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function here() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [view = "", ...rest] = path.split("/");
  return { view: view || "overview", argument: decoded(rest.join("/")), query: new URLSearchParams(query) };
}

// Parameters that are empty are left out; an array stands once for each item.
export function link(view, argument = "", query = {}) {
  const parameters = query instanceof URLSearchParams ? query : new URLSearchParams();
  if (parameters !== query)
    for (const [name, value] of Object.entries(query))
      for (const one of [value].flat()) if (one !== "" && one !== undefined && one !== null) parameters.append(name, one);
  const text = parameters.toString();
  return `#/${view}${argument ? `/${encodeURIComponent(argument)}` : ""}${text ? `?${text}` : ""}`;
}

export function go(to, { replace = false } = {}) {
  if (location.hash === to) return;
  if (replace) location.replace(to);
  else location.hash = to;
}
