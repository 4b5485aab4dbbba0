// Who sends what where: routes, upstreams and masters, with lines as thick as what flows.

import { h } from "./dom.js";
import { rate } from "./format.js";
import { state } from "./live.js";
import { masterState, standingState } from "./words.js";

const WIDTH = 900;
const BOX = { width: 220, height: 44, gap: 14 };
const COLUMNS = [0, 340, 680];
// More would be no picture any more; Masters has them all.
const MASTERS_MAX = 60;

export function flow() {
  const { routes = [], upstreams } = state.status;
  const masters = upstreams.flatMap((it) => it.masters.map((master) => ({ upstream: it.name, ...master }))).slice(0, MASTERS_MAX);
  const shown = upstreams.filter((it) => masters.some((master) => master.upstream === it.name));
  const left = column(routes, COLUMNS[0]);
  const middle = column(shown, COLUMNS[1]);
  const right = column(masters, COLUMNS[2]);
  const most = Math.max(1, ...[...routes, ...shown, ...masters].map((it) => it.standing?.requests_per_second ?? 0));
  const lines = [
    ...routes.flatMap((route, index) => route.upstreams.flatMap((name) => {
      const to = shown.findIndex((it) => it.name === name);
      return to < 0 ? [] : [link(left[index], middle[to], route.standing, most)];
    })),
    ...masters.map((master, index) => link(middle[shown.findIndex((it) => it.name === master.upstream)], right[index], master.standing, most)),
  ];
  const height = Math.max(...[left, middle, right].map((boxes) => boxes.length * (BOX.height + BOX.gap)), BOX.height);
  const total = upstreams.reduce((sum, it) => sum + it.masters.length, 0);
  return [h("section", { class: "card" }, h("h2", {}, "From routes to masters"),
    h("div", { class: "scroll" }, h("svg", { class: "flow", viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": words(shown) },
      lines,
      routes.map((it, index) => box(left[index], it.name, it.standing, standingState(it.standing))),
      shown.map((it, index) => box(middle[index], it.name, it.standing, standingState(it.standing))),
      masters.map((it, index) => box(right[index], it.name, it.standing, masterState(it))))),
    total > masters.length && h("p", { class: "soft" }, `The first ${masters.length} of ${total} masters; all of them are under Masters.`))];
}

const column = (items, x) => items.map((_, index) => ({ x, y: index * (BOX.height + BOX.gap) + 2 }));

function box({ x, y }, name, standing, [tone, word]) {
  const short = name.length > 24 ? `${name.slice(0, 23)}…` : name;
  return h("g", {}, h("title", {}, `${name}: ${word}`),
    h("rect", { class: tone, x: x + 1, y, width: BOX.width - 2, height: BOX.height, rx: 6 }),
    h("text", { x: x + 10, y: y + 18 }, short),
    h("text", { class: "soft", x: x + 10, y: y + 35 }, `${word} · ${rate(standing?.requests_per_second)}`));
}

function link(from, to, standing, most) {
  const flowing = standing?.requests_per_second ?? 0;
  const [x1, y1, x2, y2] = [from.x + BOX.width, from.y + BOX.height / 2, to.x, to.y + BOX.height / 2];
  const middle = (x1 + x2) / 2;
  return h("path", { class: flowing > 0 ? "" : "idle", "stroke-width": flowing > 0 ? 1 + (flowing / most) * 11 : 1.5, d: `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}` });
}

const words = (upstreams) => upstreams.map((it) => `${it.name} sends ${it.masters.map((master) => `${rate(master.standing?.requests_per_second)} to ${master.name}`).join(", ")}`).join("; ");
