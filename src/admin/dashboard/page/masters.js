// Every master with its figures, and what an operator can do to it.

import { changeState } from "./actions.js";
import { h } from "./dom.js";
import { count, milliseconds, percent, rate } from "./format.js";
import { changed, state } from "./live.js";
import { changeNumber, changeStrategy, notTheFile } from "./settings.js";
import { masterState, standingState } from "./words.js";

// Beyond this many upstreams one is shown at a time.
const ALL_MAX = 6;
let chosen = null;

export function masters() {
  const { upstreams } = state.status;
  const many = upstreams.length > ALL_MAX;
  const one = upstreams.find((it) => it.name === chosen) ?? upstreams[0];
  const choose = (event) => {
    chosen = event.target.value;
    changed();
  };
  return [
    notTheFile(),
    many && h("div", { class: "controls" }, h("label", {}, "Upstream ", h("select", { id: "upstream", value: one.name, onchange: choose },
      upstreams.map((it) => h("option", { value: it.name, selected: it.name === one.name }, `${it.name} (${standingState(it.standing)[1]})`))))),
    ...(many ? [one] : upstreams).map(upstream),
    routes(state.status.routes ?? []),
  ].filter(Boolean);
}

function upstream(it) {
  const heads = [["State"], ["Master"], ["Requests", true], ["Share"], ["Failed", true], ["p50", true], ["p99", true], ["In flight", true], ["Queued", true], ["Waiting", true], ["Weight", true], ["Priority", true], ["Do"]];
  return h("section", { class: "card", id: `masters-${it.name}` },
    h("div", { class: "head" }, h("h2", {}, `${it.name}, ${it.strategy}`, it.active ? `, active ${it.active}, epoch ${it.epoch}` : ""),
      h("div", { class: "buttons" }, h("button", { type: "button", "aria-label": `strategy of ${it.name}`, onclick: () => changeStrategy(it) }, "Strategy"))),
    h("div", { class: "scroll" }, h("table", { "aria-label": `masters of ${it.name}` },
    h("thead", {}, h("tr", {}, heads.map(([word, number]) => h("th", { scope: "col", class: number && "number" }, word)))),
    h("tbody", {}, it.masters.map((master) => row(it, master))))));
}

function row(upstream, master) {
  const [tone, word] = masterState(master);
  const { standing } = master;
  const why = standing?.reasons?.map((reason) => reason.text).join("; ");
  const number = (text) => h("td", { class: "number" }, text);
  const share = standing?.share_percent;
  return h("tr", { id: `master-${upstream.name}-${master.name}` },
    h("td", { title: why }, h("span", { class: `state ${tone}` }, word), why && h("div", { class: "soft" }, why)),
    h("th", { scope: "row" }, master.name, h("div", { class: "soft" }, master.address)),
    number(rate(standing?.requests_per_second)),
    h("td", {}, share === null || share === undefined ? "–" : [bar(share), `${count(share)} %`]),
    number(percent(standing?.error_ratio)), number(milliseconds(standing?.p50_ms)), number(milliseconds(standing?.p99_ms)),
    number(count(master.in_flight)), number(count(master.queued)), number(count(master.pending)),
    number(count(master.weight)), number(count(master.priority)),
    h("td", {}, h("div", { class: "buttons" }, ["ready", "drain", "maintenance"].map((to) =>
      h("button", { type: "button", disabled: master.operator_state === to, "aria-label": `${to}: ${master.name}`, onclick: () => changeState(upstream, master, to) }, to)),
    ["weight", "priority"].map((key) =>
      h("button", { type: "button", "aria-label": `${key} of ${master.name}`, onclick: () => changeNumber(upstream, master, key) }, key)))));
}

const bar = (percent) => h("svg", { class: "bar", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" }, h("rect", { width: percent, height: 6 }));

function routes(all) {
  if (all.length === 0) return false;
  const number = (text) => h("td", { class: "number" }, text);
  return h("section", { class: "card" }, h("div", { class: "scroll" }, h("table", {},
    h("caption", {}, "Routes"),
    h("thead", {}, h("tr", {}, ["State", "Route", "Delivery", "To"].map((word) => h("th", { scope: "col" }, word)), ["Requests", "Failed", "p99"].map((word) => h("th", { scope: "col", class: "number" }, word)))),
    h("tbody", {}, all.map((route) => {
      const [tone, word] = standingState(route.standing);
      return h("tr", {}, h("td", {}, h("span", { class: `state ${tone}` }, word)), h("th", { scope: "row" }, route.name), h("td", {}, route.delivery),
        h("td", {}, route.upstreams.join(", ")), number(rate(route.standing?.requests_per_second)), number(percent(route.standing?.error_ratio)), number(milliseconds(route.standing?.p99_ms)));
    })))));
}
