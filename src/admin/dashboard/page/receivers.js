// Who is told of alerts, how the last time went, and whether they can be told now.

import { post, Refused } from "./api.js";
import { confirm } from "./confirm.js";
import { h } from "./dom.js";
import { clock, count, milliseconds, plural } from "./format.js";

// Tests of this page, by receiver: the API counts notifications and no tests.
const tested = new Map();

export function receivers(rows, more) {
  return h("section", { class: "card", id: "receivers" }, h("h2", {}, "Who is told"),
    rows.length === 0
      ? h("p", { class: "soft" }, "Nobody: ", h("code", {}, "alerts: { receivers: [...] }"), " in the configuration names who is.")
      : h("div", { class: "scroll" }, h("table", {},
        h("thead", {}, h("tr", {}, ["Last time", "Receiver", "Where", "Told from", "Taken", "Not taken", "Waiting", "Do"].map((word) => h("th", { scope: "col" }, word)))),
        h("tbody", {}, rows.map(row)))),
    more && h("p", { class: "soft" }, `The first ${count(rows.length)}; the rest by `, h("code", {}, "baton ctl alerts receivers")));
}

function row(it) {
  const number = (value) => h("td", { class: "number" }, count(value));
  const soft = (text) => text && h("div", { class: "soft" }, text);
  return h("tr", { id: `receiver-${it.name}` },
    h("td", { class: "text" }, outcome(it.last), tested.has(it.name) && h("div", {}, outcome(tested.get(it.name)), soft("a test"))),
    h("th", { scope: "row" }, it.name),
    h("td", { class: "text" }, `${it.kind}, ${it.place}`),
    h("td", {}, it.severity),
    number(it.delivered), number(it.failed),
    h("td", { class: "number" }, count(it.waiting), soft(it.held > 0 && `${count(it.held)} had to wait`), soft(it.dropped > 0 && `${plural(it.dropped, "was", "were")} left out`)),
    h("td", {}, h("button", { type: "button", "aria-label": `test ${it.name}`, onclick: () => test(it) }, "test")));
}

function outcome(last) {
  if (!last) return h("span", { class: "soft" }, "not told yet");
  return [h("span", { class: `state ${last.delivered ? "ok" : "bad"}` }, last.delivered ? "taken" : "not taken"), ` ${clock(last.at)}`,
    last.error && h("div", { class: "soft" }, last.error)];
}

function test(it) {
  const preview = [`${it.name} (${it.kind}, ${it.place}) is sent one notification that says that it is a test. It is not tried again.`];
  const act = async () => {
    const { delivered, error, seconds } = await post(`/api/v1/alerts/receivers/${encodeURIComponent(it.name)}/test`, {});
    tested.set(it.name, { at: Date.now(), delivered, error });
    if (!delivered) throw new Refused(502, { detail: `${it.name} did not take it: ${error}` });
    return `${it.name} took it within ${milliseconds(seconds * 1000)}.`;
  };
  confirm({ title: `Test whether ${it.name} can be told`, preview, word: "Send a test", unexplained: true, act });
}
