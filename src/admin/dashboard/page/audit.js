// Who changed what, and whether the trail of it is as it was written.

import { get, Refused } from "./api.js";
import { h } from "./dom.js";
import { clock, count, plural } from "./format.js";
import { changed, state } from "./live.js";
import { save } from "./save.js";

const ROWS = 50;
const FINDINGS = 20;
// Of what was before and after; the whole of it is in the file.
const VALUE_MAX = 120;
const EXPORT = "baton-audit.ndjson";

const OUTCOMES = { done: ["ok", "done"], refused: ["warn", "refused"], failed: ["bad", "failed"] };
const trail = { items: null, next: null, problem: null, asked: null, query: null, who: "", action: "", outcome: "", cursors: [], verdict: null, saving: null };

async function read() {
  const { who, action, outcome, cursors } = trail;
  const wanted = Object.entries({ who, action, outcome, cursor: cursors.at(-1) ?? "", limit: ROWS }).filter(([, value]) => value !== "");
  const query = String(new URLSearchParams(wanted));
  // The status knows the number of the newest record; older pages stay as they are.
  trail.asked = newest();
  trail.query = query;
  try {
    const found = await get(`/api/v1/audit?${query}`);
    if (trail.query !== query) return;
    Object.assign(trail, { items: found.items, next: found.next, problem: null });
  } catch (error) {
    trail.problem = error instanceof Refused ? error.message : "not to be reached";
  }
  changed();
}

const newest = () => state.status.audit.records;

async function verify() {
  trail.verdict = { asking: true };
  changed();
  try {
    trail.verdict = { ...(await get("/api/v1/audit/verify")), at: Date.now() };
  } catch (error) {
    trail.verdict = { problem: error instanceof Refused ? error.message : "not to be reached" };
  }
  changed();
}

export function audit() {
  if (trail.asked === null || (trail.asked !== newest() && trail.cursors.length === 0)) void read();
  if (trail.verdict === null) void verify();
  return [
    h("section", { class: "card", id: "audit-verdict" },
      h("div", { class: "head" }, h("h2", {}, "Is it as it was written?"),
        h("div", { class: "buttons" },
          h("button", { type: "button", onclick: verify }, "Verify again"),
          h("button", { type: "button", onclick: async () => { trail.saving = await save("/api/v1/audit/export", EXPORT); changed(); } }, "Export"))),
      verdict(trail.verdict),
      trouble(state.status.audit),
      h("p", { class: "soft", role: "status" }, trail.saving ?? "")),
    h("section", { class: "card", id: "audit" }, h("h2", {}, "Who changed what"),
      filters(),
      trail.problem && h("p", { class: "soft" }, trail.problem),
      records(trail.items ?? []),
      pages()),
  ];
}

function verdict(it) {
  if (!it || it.asking) return h("p", { class: "soft", role: "status" }, "Being read.");
  if (it.problem) return h("p", {}, h("span", { class: "state warn" }, "not known"), ` ${it.problem}`);
  const kept = it.records === 0 ? "No record is kept yet." : `${plural(it.records, "record is", "records are")} kept, ${it.first} to ${it.last}, as of ${clock(it.at)}.`;
  if (it.intact) {
    return [h("p", { role: "status" }, h("span", { class: "state ok" }, "intact"), ` Nothing was changed, removed or added. ${kept}`),
      it.newest_hash && h("p", { class: "soft hash" }, "Hash of the newest, which proves later that none was cut off: ", h("code", {}, it.newest_hash))];
  }
  return [h("p", { role: "status" }, h("span", { class: "state bad" }, "damaged"), ` The trail is not what was written, in ${plural(it.findings.length, "place", "places")}. ${kept}`),
    h("ul", { class: "plain" }, it.findings.slice(0, FINDINGS).map((finding) => h("li", {}, `${finding.file}, line ${finding.line}: ${finding.fault}`))),
    it.findings.length > FINDINGS && h("p", { class: "soft" }, `and ${it.findings.length - FINDINGS} more`)];
}

function trouble({ lost, error, damage }) {
  const lines = [damage && ["damaged", damage], error && ["not written", error], lost > 0 && ["lost", `${plural(lost, "entry", "entries")} since this process started`]].filter(Boolean);
  return lines.map(([word, words]) => h("p", {}, h("span", { class: "state bad" }, word), ` ${words}`));
}

function filters() {
  const wanted = (name) => (event) => {
    trail[name] = event.target.value.trim();
    trail.cursors = [];
    void read();
  };
  const text = (label, name, placeholder) => h("label", {}, `${label} `,
    h("input", { id: `audit-${name}`, type: "search", value: trail[name], placeholder, onchange: wanted(name) }));
  return h("div", { class: "controls" }, text("By", "who", "a whole name"), text("did", "action", "such as failover"),
    h("label", {}, "and it was ", h("select", { id: "audit-outcome", value: trail.outcome, onchange: wanted("outcome") },
      [["", "any"], ...Object.keys(OUTCOMES).map((word) => [word, word])].map(([value, words]) => h("option", { value, selected: value === trail.outcome }, words)))));
}

function records(rows) {
  // A page can be empty and not the last.
  if (rows.length === 0) return h("p", { class: "soft" }, trail.items === null ? "Being read." : trail.next ? "Nothing of that kind on this page." : "Nothing of that kind.");
  return h("div", { class: "scroll" }, h("table", {},
    h("thead", {}, h("tr", {}, ["No.", "When", "Outcome", "Who", "Did", "To", "Why", "Before, after"].map((word) => h("th", { scope: "col" }, word)))),
    h("tbody", {}, rows.map(record))));
}

function record(it) {
  const [tone, word] = OUTCOMES[it.outcome] ?? ["warn", it.outcome];
  const soft = (text) => text && h("div", { class: "soft" }, text);
  return h("tr", { id: `audit-${it.seq}` },
    h("td", { class: "number" }, it.seq, !it.intact && h("div", {}, h("span", { class: "state bad" }, "changed"))),
    h("td", {}, clock(it.at)),
    h("td", {}, h("span", { class: `state ${tone}` }, word), soft(it.why)),
    h("th", { scope: "row" }, it.who, soft([it.role, it.from].filter(Boolean).join(", "))),
    h("td", {}, it.action),
    h("td", { class: "text" }, it.target),
    h("td", { class: "text" }, it.reason),
    h("td", { class: "text" }, `${value(it.before)} → ${value(it.after)}`));
}

function value(it) {
  if (it === null) return "–";
  const text = typeof it === "string" ? it : JSON.stringify(it);
  return text.length > VALUE_MAX ? `${text.slice(0, VALUE_MAX)}…` : text;
}

function pages() {
  const { cursors, next } = trail;
  if (cursors.length === 0 && !next) return false;
  const turn = (to) => () => {
    trail.cursors = to;
    void read();
  };
  return h("div", { class: "buttons" },
    h("button", { type: "button", disabled: cursors.length === 0, onclick: turn([]) }, "Newest"),
    h("button", { type: "button", disabled: cursors.length === 0, onclick: turn(cursors.slice(0, -1)) }, "Newer"),
    h("button", { type: "button", disabled: !next, onclick: turn([...cursors, next]) }, "Older"),
    h("span", { class: "soft" }, `page ${count(cursors.length + 1)}`));
}
