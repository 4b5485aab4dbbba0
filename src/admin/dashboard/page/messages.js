// Stored messages that wait, and those that were given up.

import { discard, replay } from "./actions.js";
import { get, Refused } from "./api.js";
import { h } from "./dom.js";
import { clock, count, plural, since, span } from "./format.js";
import { changed, state } from "./live.js";

const ROWS = 50;
const EVERY = 3000;

const lists = { pending: null, dead: null, more: false, problem: null, asked: 0 };

// Read anew while the view is open.
async function read() {
  lists.asked = Date.now();
  try {
    const [pending, dead] = await Promise.all([get(`/api/v1/spool/messages?limit=${ROWS}`), get(`/api/v1/dead-letters?limit=${ROWS}`)]);
    Object.assign(lists, { pending: pending.items, dead: dead.items, more: Boolean(dead.next), problem: null });
  } catch (error) {
    lists.problem = error instanceof Refused ? error.message : "not to be reached";
  }
  changed();
}

export function messages() {
  const { spool, routes = [] } = state.status;
  if (routes.every((route) => route.delivery === "inline")) {
    return [h("section", { class: "card" }, h("h2", {}, "Stored messages"), h("p", { class: "soft" }, "No route stores messages: ", h("code", {}, "delivery: spool"), " or ", h("code", {}, "inline-then-spool"), " does."))];
  }
  if (Date.now() - lists.asked > EVERY) void read();
  return [
    h("section", { class: "card" }, h("h2", {}, "Stored messages"),
      h("p", {}, `${plural(spool.pending, "message waits", "messages wait")}`, spool.pending > 0 ? `, the oldest for ${span(spool.oldest_seconds)}` : "", `. ${plural(spool.duplicates, "copy", "copies")} of what had come before since the start.`),
      spool.full && h("p", { class: "state warn" }, `There is no room for more: ${spool.full}`),
      spool.failed && h("p", { class: "state bad" }, `Nothing is stored any more: ${spool.failed}`),
      lists.problem ? h("p", { class: "soft" }, lists.problem) : waiting(lists.pending ?? [])),
    !lists.problem && h("section", { class: "card" }, h("div", { class: "head" }, h("h2", {}, "Dead letters"),
      h("div", { class: "buttons" },
        h("button", { type: "button", disabled: spool.dead_letters === 0, onclick: () => replay({ all: true }, spool.dead_letters, read) }, "Replay all"),
        h("button", { type: "button", disabled: spool.dead_letters === 0, onclick: () => discard({ all: true }, spool.dead_letters, read) }, "Discard all"))),
      dead(lists.dead ?? [])),
  ].filter(Boolean);
}

function waiting(rows) {
  if (rows.length === 0) return h("p", { class: "soft" }, "Every message that was accepted has been delivered.");
  return h("div", { class: "scroll" }, h("table", {},
    h("caption", {}, `The oldest ${count(rows.length)}`),
    h("thead", {}, h("tr", {}, ["Accepted", "Message", "For", "Attempts", "Last attempt"].map((word) => h("th", { scope: "col" }, word)))),
    h("tbody", {}, rows.map((row) => h("tr", {},
      h("td", {}, `${since(row.accepted)} ago`),
      h("td", { class: "text" }, row.message ? `${row.message.event} ${row.message.message_id}` : "cannot be read"),
      h("td", { class: "text" }, row.upstream, row.message?.account ? `, account ${row.message.account}` : ""),
      h("td", { class: "number" }, count(row.attempts)),
      h("td", { class: "text" }, last(row.history)))))));
}

function dead(rows) {
  if (rows.length === 0) return h("p", { class: "soft" }, "None.");
  return h("div", { class: "scroll" }, h("table", {},
    h("thead", {}, h("tr", {}, ["Given up", "Message", "For", "Why", "Last attempt", "Do"].map((word) => h("th", { scope: "col" }, word)))),
    h("tbody", {}, rows.map((row) => h("tr", { id: `dead-${row.id}` },
      h("td", {}, clock(row.died)),
      h("td", { class: "text" }, `${row.message.event} ${row.message.message_id}`),
      h("td", { class: "text" }, row.upstream, row.message.account ? `, account ${row.message.account}` : ""),
      h("td", {}, row.reason),
      h("td", { class: "text" }, last(row.history)),
      h("td", {}, h("div", { class: "buttons" },
        h("button", { type: "button", "aria-label": `replay ${row.message.message_id}`, onclick: () => replay({ id: row.id }, 1, read) }, "replay"),
        h("button", { type: "button", "aria-label": `discard ${row.message.message_id}`, onclick: () => discard({ id: row.id }, 1, read) }, "discard"))))))),
    lists.more && h("p", { class: "soft" }, `The newest ${count(rows.length)}; the rest by `, h("code", {}, "baton ctl dead-letters")));
}

const last = (history) => {
  const attempt = history.at(-1);
  return attempt ? `${attempt.ending} at ${attempt.master}, ${clock(attempt.at)}` : "none yet";
};
