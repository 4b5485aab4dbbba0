// What is wrong by the rules, who looks after it, what is kept quiet, and who is told.

import { acknowledge, endSilence, silence } from "./actions.js";
import { get, Refused } from "./api.js";
import { h } from "./dom.js";
import { clock, plural, since, span } from "./format.js";
import { changed, state } from "./live.js";
import { receivers } from "./receivers.js";
import { severity } from "./words.js";

const EVERY = 3000;
const ROWS = 50;
const WORST = ["critical", "warning", "info"];
const past = { history: [], silences: [], receivers: null, problem: null, asked: 0 };

async function read() {
  past.asked = Date.now();
  try {
    const [history, silences, receivers] = await Promise.all(["history", "silences", "receivers"].map((list) => get(`/api/v1/alerts/${list}?limit=${ROWS}`)));
    Object.assign(past, { history: history.items, silences: silences.items, receivers, problem: null });
  } catch (error) {
    past.problem = error instanceof Refused ? error.message : "not to be reached";
  }
  changed();
}

export function alerts() {
  if (Date.now() - past.asked > EVERY) void read();
  const open = (state.alerts ?? []).toSorted((one, other) => WORST.indexOf(one.severity) - WORST.indexOf(other.severity));
  return [
    h("section", { class: "card", id: "alerts" }, h("h2", {}, "Going on"),
      open.length === 0 ? h("p", { class: "soft" }, "None.") : h("ul", { class: "plain" }, open.map(item))),
    past.problem && h("p", { class: "card soft" }, past.problem),
    past.silences.length > 0 && h("section", { class: "card", id: "silences" }, h("h2", {}, "Kept quiet"), h("ul", { class: "plain" }, past.silences.map(quiet))),
    past.receivers && receivers(past.receivers.items, Boolean(past.receivers.next)),
    h("section", { class: "card", id: "alert-history" }, h("h2", {}, "Over"),
      past.history.length === 0 ? h("p", { class: "soft" }, "None yet.") : ended(past.history)),
  ].filter(Boolean);
}

// In a line, for the first screen; nothing where nothing goes on.
export function alertLine() {
  const loud = (state.alerts ?? []).filter((alert) => alert.state === "active");
  if (loud.length === 0) return false;
  const worst = loud.some((alert) => alert.severity === "critical") ? "critical" : loud.some((alert) => alert.severity === "warning") ? "warning" : "info";
  const [tone] = severity[worst];
  return h("p", { id: "alert-line" }, h("a", { href: "#/alerts", class: `state ${tone}` }, `${plural(loud.length, "alert goes on", "alerts go on")} that nobody looks after`));
}

function item(alert) {
  const [tone, word] = severity[alert.severity] ?? severity.info;
  const then = { acknowledged: "looked after", silenced: "kept quiet" }[alert.state];
  return h("li", { id: `alert-${alert.number}` },
    h("div", { class: "head" },
      h("span", {}, h("span", { class: `state ${tone}` }, word), " ", h("strong", {}, alert.rule), ` for ${since(alert.raised)}`, then ? `, ${then}` : ""),
      h("div", { class: "buttons" },
        h("button", { type: "button", disabled: Boolean(alert.acknowledged), "aria-label": `acknowledge: ${alert.rule}`, onclick: () => acknowledge(alert, read) }, "acknowledge"),
        h("button", { type: "button", disabled: alert.state === "silenced", "aria-label": `silence: ${alert.rule}`, onclick: () => silence(alert, read) }, "silence"))),
    h("div", {}, alert.summary),
    alert.acknowledged && h("div", { class: "soft" }, `${alert.acknowledged.by} looks after it since ${clock(alert.acknowledged.at)}`, alert.acknowledged.note ? `: ${alert.acknowledged.note}` : ""),
    alert.escalated && h("div", { class: "soft" }, `It matters more since ${clock(alert.escalated)}, as nobody looked after it.`));
}

function quiet(it) {
  const what = it.matchers.map((matcher) => `${matcher.label} ${matcher.value}`).join(", ");
  return h("li", { class: "head", id: `silence-${it.id}` },
    h("span", {}, `${what}: until ${clock(it.until)} by ${it.by}, ${it.reason}. ${it.active ? plural(it.alerts, "alert", "alerts") : "Over."}`),
    it.active && h("button", { type: "button", "aria-label": `end the silence of ${what}`, onclick: () => endSilence(it, what, read) }, "end"));
}

function ended(rows) {
  return h("div", { class: "scroll" }, h("table", {},
    h("thead", {}, h("tr", {}, ["Began", "Lasted", "Severity", "Alert", "What", "Looked after by"].map((word) => h("th", { scope: "col" }, word)))),
    h("tbody", {}, rows.map((alert) => {
      const [tone, word] = severity[alert.severity] ?? severity.info;
      return h("tr", {}, h("td", {}, clock(alert.raised)), h("td", {}, span((alert.resolved - alert.raised) / 1000)),
        h("td", {}, h("span", { class: `state ${tone}` }, word)), h("td", {}, alert.rule), h("td", { class: "text" }, alert.summary),
        h("td", { class: "text" }, alert.acknowledged?.by ?? "–"));
    }))));
}
