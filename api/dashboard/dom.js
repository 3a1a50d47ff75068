// Elements are made by h() and changed in place; rows of a list are kept by their key, so nothing flickers and focus stays.

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "selected", "open", "tabIndex", "htmlFor", "type"]);

function set(node, name, value) {
  if (value === undefined || value === null || value === false) {
    if (PROPERTIES.has(name) && name in node) node[name] = name === "value" ? "" : false;
    else node.removeAttribute(name);
  } else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
  else if (PROPERTIES.has(name) && name in node) node[name] = value;
  else node.setAttribute(name, value === true ? "" : value);
}

function made(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) if (value !== undefined) set(node, name, value);
  node.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const h = (name, attributes, ...children) => made(document.createElement(name), attributes, children);
export const svg = (name, attributes, ...children) => made(document.createElementNS(SVG, name), attributes, children);

// Writes only what is different.
export function setText(node, text) {
  const wanted = String(text ?? "");
  if (node.textContent !== wanted) node.textContent = wanted;
}

export function setClass(node, wanted) {
  if (node.className !== wanted) node.className = wanted;
}

// The children of `parent` become one node per item, in order; the node of a key stays the same node. make(item) gives a node,
// update(node, item) fills it.
export function keyed(parent, items, keyOf, make, update) {
  const kept = parent.keyedNodes ?? (parent.keyedNodes = new Map());
  const wanted = new Set(items.map(keyOf).map(String));
  for (const [key, node] of kept)
    if (!wanted.has(key)) {
      node.remove();
      kept.delete(key);
    }
  let at = parent.firstChild;
  for (const item of items) {
    const key = String(keyOf(item));
    let node = kept.get(key);
    if (!node) {
      node = make(item);
      kept.set(key, node);
    }
    if (update) update(node, item);
    if (node === at) at = at.nextSibling;
    else parent.insertBefore(node, at);
  }
}
