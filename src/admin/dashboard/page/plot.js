// Lines over time, as SVG. The figures are readable without a pointer: the newest and the highest stand beside the line.

import { h } from "./dom.js";
import { clock } from "./format.js";
import { changed } from "./live.js";

const WIDTH = 600;
const HEIGHT = 120;

// Which step the pointer is at, by plot, so that it stays there when the plot is drawn anew.
const pointed = new Map();

// `lines`: up to two of `{ name, values }`. `most`: the top of the scale is at least this.
export function plot({ id, title, start, step, lines, format, most = 0 }) {
  const all = lines.flatMap((line) => line.values ?? []).filter((value) => value !== null);
  const top = Math.max(most, ...all) || 1;
  const length = Math.max(2, ...lines.map((line) => line.values?.length ?? 0));
  const x = (index) => (index / (length - 1)) * WIDTH;
  const y = (value) => HEIGHT - (value / top) * (HEIGHT - 6);
  const at = pointed.get(id);
  const newest = (values = []) => values.findLast((value) => value !== null);
  const said = (line) => format(at === undefined ? newest(line.values) : line.values?.[at]);
  const draw = (line, index) => [
    index === 0 && h("path", { class: "area", d: area(line.values ?? [], x, y) }),
    h("path", { class: index === 0 ? "line" : "line b", d: path(line.values ?? [], x, y) }),
  ];
  const move = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const part = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    pointed.set(id, Math.round(part * (length - 1)));
    changed();
  };
  const leave = () => {
    pointed.delete(id);
    changed();
  };
  const when = at === undefined ? "" : ` at ${clock((start + at * step) * 1000)}`;
  return h("section", { class: "card", id: `plot-${id}` },
    h("div", { class: "head" },
      h("h3", {}, title),
      h("span", {}, lines.map((line) => `${line.name ? `${line.name} ` : ""}${said(line)}`).join(" · "), h("span", { class: "soft" }, when))),
    h("div", { class: "plot", onpointermove: move, onpointerleave: leave },
      h("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": `${title}: now ${lines.map((line) => `${line.name ?? ""} ${format(newest(line.values))}`).join(", ")}; highest ${format(all.length ? Math.max(...all) : null)}` },
        [0, 0.5, 1].map((part) => h("line", { class: "grid-line", x1: 0, x2: WIDTH, y1: y(top * part), y2: y(top * part) })),
        lines.map(draw),
        at !== undefined && h("line", { class: "cursor", x1: x(at), x2: x(at), y1: 0, y2: HEIGHT })),
      h("div", { class: "axis" }, h("span", {}, clock(start * 1000)), h("span", {}, `highest ${format(all.length ? Math.max(...all) : null)}`), h("span", {}, "now"))));
}

// Gaps stay gaps; a lone value is a dot.
function path(values, x, y) {
  let drawn = "";
  let pen = false;
  values.forEach((value, index) => {
    if (value === null) {
      pen = false;
      return;
    }
    const alone = !pen && (values[index + 1] ?? null) === null;
    drawn += `${pen ? "L" : "M"}${x(index).toFixed(1)} ${y(value).toFixed(1)}${alone ? "h1" : ""}`;
    pen = true;
  });
  return drawn;
}

function area(values, x, y) {
  let drawn = "";
  let first = null;
  const close = (index) => {
    if (first !== null) drawn += `L${x(index).toFixed(1)} ${HEIGHT}L${x(first).toFixed(1)} ${HEIGHT}Z`;
    first = null;
  };
  values.forEach((value, index) => {
    if (value === null) close(index - 1);
    else {
      drawn += `${first === null ? "M" : "L"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
      first ??= index;
    }
  });
  close(values.length - 1);
  return drawn;
}
