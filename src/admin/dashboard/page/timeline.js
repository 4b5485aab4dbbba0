// What happened, the newest first.

import { h } from "./dom.js";
import { clock } from "./format.js";
import { changed, state } from "./live.js";
import { severity } from "./words.js";

const SHOWN = 200;
let least = "info";
let about = "";

const ORDER = ["info", "warning", "critical"];

export function eventItem(event) {
  const [tone, word] = severity[event.severity] ?? severity.info;
  return h("li", {}, h("time", { datetime: new Date(event.at).toISOString() }, clock(event.at)),
    h("span", { class: `state ${tone}` }, word), " ", event.message);
}

export function timeline() {
  const wanted = about.toLowerCase();
  const found = state.events.filter((event) => ORDER.indexOf(event.severity) >= ORDER.indexOf(least)
    && `${event.kind} ${event.message} ${event.upstream ?? ""} ${event.master ?? ""}`.toLowerCase().includes(wanted));
  return [h("section", { class: "card" }, h("h2", {}, "What happened"),
    h("div", { class: "controls" },
      h("label", {}, "At least ", h("select", { id: "least", value: least, onchange: (event) => { least = event.target.value; changed(); } },
        ORDER.map((word) => h("option", { value: word, selected: word === least }, word)))),
      h("label", {}, "about ", h("input", { id: "about", type: "search", value: about, placeholder: "a master, a kind", oninput: (event) => { about = event.target.value; changed(); } }))),
    h("ul", { class: "plain", id: "events" }, found.slice(0, SHOWN).map(eventItem)),
    found.length === 0 && h("p", { class: "soft" }, state.events.length === 0 ? "Nothing since Baton started." : "Nothing of that kind."),
    found.length > SHOWN && h("p", { class: "soft" }, `and ${found.length - SHOWN} older`))];
}
