// Elements, made of text and never of markup, and brought onto the page without disturbing what has the focus.

const SVG = "http://www.w3.org/2000/svg";
// Elements whose value the page decides, as long as nobody is at them.
const controlled = new WeakSet();

const SVG_TAGS = new Set(["svg", "path", "line", "rect", "text", "g", "title"]);

// An element. `attributes` beginning with `on` are handlers; those that are false or missing are left out. Children are
// elements or text, in arrays as deep as one likes.
export function h(tag, attributes = {}, ...children) {
  const element = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element[name] = value;
    else if (name === "value") continue;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === false || child === null || child === undefined) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  if ("value" in attributes) {
    element.value = attributes.value;
    controlled.add(element);
  }
  return element;
}

// Makes `parent`'s children what `children` are, and keeps every element that can be kept.
export function show(parent, ...children) {
  const next = document.createElement(parent.tagName);
  next.append(...children.flat(Infinity).filter((child) => child instanceof Node));
  alignChildren(parent, next);
}

function alignChildren(parent, next) {
  const wanted = [...next.childNodes];
  wanted.forEach((node, position) => {
    const present = parent.childNodes[position];
    if (!present) parent.append(node);
    else if (isSame(present, node)) align(present, node);
    else present.replaceWith(node);
  });
  while (parent.childNodes.length > wanted.length) parent.lastChild.remove();
}

function isSame(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName
    && (one.nodeType !== Node.ELEMENT_NODE || one.getAttribute("id") === other.getAttribute("id"));
}

const HANDLERS = ["onclick", "onchange", "oninput", "onsubmit", "onpointermove", "onpointerleave", "onkeydown"];

function align(present, next) {
  if (present.nodeType === Node.TEXT_NODE) {
    if (present.data !== next.data) present.data = next.data;
    return;
  }
  for (const { name } of [...present.attributes]) {
    if (!next.hasAttribute(name)) present.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (present.getAttribute(name) !== value) present.setAttribute(name, value);
  }
  for (const handler of HANDLERS) present[handler] = next[handler];
  alignChildren(present, next);
  if (controlled.has(next) && present !== document.activeElement && present.value !== next.value) present.value = next.value;
}
