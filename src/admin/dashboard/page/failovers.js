// Who serves which accounts, and how that has changed.

import { get, Refused } from "./api.js";
import { h } from "./dom.js";
import { bytes, clock, count, milliseconds, plural } from "./format.js";
import { changed, state } from "./live.js";
import { accountsOf, failback, failover, reset } from "./takeover.js";
import { masterState } from "./words.js";

const EVERY = 3000;
const ROWS = 50;
const ROWS_MAX = 1000;
const UPSTREAMS_MAX = 50;
const past = { items: null, more: false, problem: null, asked: 0, rows: ROWS, epochs: 0 };

const GROUPS = { steady: ["ok", "served"], "handing-over": ["warn", "handing over"], leaving: ["warn", "going over one by one"], stuck: ["bad", "nobody serves"] };
const OUTCOMES = { completed: ["ok", "completed"], "under-way": ["warn", "under way"], undone: ["warn", "undone"], stuck: ["bad", "stuck"] };
const RECOVERIES = { recovering: "is waited for", "on-trial": "is back, and not stable yet", waiting: "waits for its next attempt", "given-up": "is given up, until a reset" };

async function read() {
  past.asked = Date.now();
  try {
    const found = await get(`/api/v1/failovers?limit=${past.rows}`);
    Object.assign(past, { items: found.items, more: Boolean(found.next), problem: null });
  } catch (error) {
    past.problem = error instanceof Refused ? error.message : "not to be reached";
  }
  changed();
}

export function failovers() {
  const all = state.status.upstreams.filter((it) => it.failover);
  const epochs = all.reduce((sum, it) => sum + it.epoch, 0);
  // A failover that the status knows of is in the history, too.
  if (Date.now() - past.asked > EVERY || epochs !== past.epochs) {
    past.epochs = epochs;
    void read();
  }
  return [
    all.length === 0 && h("section", { class: "card" }, h("h2", {}, "Failovers"),
      h("p", { class: "soft" }, "Any master of an upstream gets requests: ", h("code", {}, "failover: { mode: active-standby }"), " makes one active and the others stand by.")),
    state.status.failover_journal_failed && h("p", { class: "card" }, h("span", { class: "state bad" }, "not written"), " Failovers cannot be written down: a restart would not know of the last ones."),
    ...all.slice(0, UPSTREAMS_MAX).map(serving),
    all.length > UPSTREAMS_MAX && h("p", { class: "soft" }, `and ${all.length - UPSTREAMS_MAX} more upstreams: see baton ctl status`),
    (all.length > 0 || past.items?.length > 0) && h("section", { class: "card", id: "failovers" }, h("h2", {}, "What there was"),
      past.problem && h("p", { class: "soft" }, past.problem),
      history(past.items ?? [])),
  ].filter(Boolean);
}

function serving(upstream) {
  const { groups, mode } = upstream.failover;
  const kept = groups.some((group) => group.kept);
  const failing = upstream.masters.filter((it) => RECOVERIES[it.recovery?.state]);
  const heads = ["State", "Serves", "What", "Can take over", ...(kept ? ["Its state, kept"] : [])];
  return h("section", { class: "card", id: `serving-${upstream.name}` },
    h("div", { class: "head" }, h("h2", {}, `${upstream.name}, ${mode}, epoch ${upstream.epoch}`),
      h("div", { class: "buttons" },
        h("button", { type: "button", "aria-label": `fail over ${upstream.name}`, onclick: () => failover(upstream, read) }, "Fail over"),
        h("button", { type: "button", "aria-label": `fail back ${upstream.name}`, onclick: () => failback(upstream, read) }, "Fail back"),
        h("button", { type: "button", disabled: failing.length === 0, "aria-label": `reset ${upstream.name}`, onclick: () => reset(upstream, read) }, "Reset"))),
    h("div", { class: "scroll" }, h("table", {},
      h("thead", {}, h("tr", {}, heads.map((word) => h("th", { scope: "col" }, word)))),
      h("tbody", {}, groups.map((group) => served(group, kept))))),
    h("ul", { class: "plain" }, upstream.masters.map((master) => standing(master, failing.includes(master)))));
}

function served(group, kept) {
  const [tone, word] = GROUPS[group.state] ?? ["warn", group.state];
  return h("tr", {},
    h("td", {}, h("span", { class: `state ${tone}` }, word), group.cause && h("div", { class: "soft" }, group.cause)),
    h("th", { scope: "row" }, group.active ?? "nobody",
      group.leaving && h("div", { class: "soft" }, `conversations leave ${group.leaving}`),
      group.held && h("div", { class: "soft" }, "chosen by an operator: no automatic failback")),
    h("td", { class: "text" }, accountsOf(group.accounts)),
    h("td", {}, group.standbys === 0 ? h("span", { class: "state warn" }, "nobody") : plural(group.standbys, "master", "masters")),
    kept && h("td", { class: "text" }, own(group.kept)));
}

function own(kept) {
  if (!kept) return "–";
  return [kept.state ? `${bytes(kept.state.bytes)} of ${kept.state.from}, ${clock(kept.state.taken)}` : "none yet",
    kept.problem && h("div", {}, h("span", { class: "state warn" }, "no newer one"), ` ${kept.problem}`)];
}

function standing(master, failing) {
  const [tone, word] = masterState(master);
  const { state: recovery, attempt } = master.recovery ?? {};
  return h("li", {}, h("span", { class: `state ${tone}` }, word), ` ${master.name}, ${master.role}, priority ${master.priority}`,
    failing && `; it ${RECOVERIES[recovery]}${attempt > 0 ? ` (attempt ${attempt})` : ""}`);
}

function history(rows) {
  if (rows.length === 0) return h("p", { class: "soft" }, "None yet.");
  const more = () => {
    past.rows = Math.min(past.rows + ROWS, ROWS_MAX);
    void read();
  };
  return [
    h("div", { class: "scroll" }, h("table", {},
      h("thead", {}, h("tr", {}, ["Outcome", "Began", "Of", "From, to", "Why", "Took", "Conversations", "State"].map((word) => h("th", { scope: "col" }, word)))),
      h("tbody", {}, rows.map(row)))),
    past.more && rows.length < ROWS_MAX && h("div", { class: "buttons" }, h("button", { type: "button", onclick: more }, "Show older ones")),
  ];
}

function row(it) {
  const [tone, word] = OUTCOMES[it.state] ?? ["warn", it.state];
  const soft = (text) => text && h("div", { class: "soft" }, text);
  return h("tr", { id: `failover-${it.upstream}-${it.epoch}` },
    h("td", {}, h("span", { class: `state ${tone}` }, word), soft(it.why)),
    h("td", {}, clock(it.began)),
    h("th", { scope: "row" }, `${it.upstream}, epoch ${it.epoch}`, soft(it.account && accountsOf([it.account]))),
    h("td", {}, `${it.from ?? "nobody"} → ${it.to ?? "nobody"}`),
    h("td", { class: "text" }, it.cause, soft(`by ${it.by}`), it.passed.map((master) => soft(`not ${master.master}: ${master.why}`))),
    h("td", { class: "text" }, milliseconds(it.duration_ms), soft(it.steps.map((step) => `${step.step} ${milliseconds(step.ms)}`).join(", ")),
      it.left_ms !== null && soft(`the last one had left after ${milliseconds(it.left_ms)}`)),
    h("td", { class: "number" }, count(it.pins)),
    h("td", { class: "text" }, it.given ? `${bytes(it.given.bytes)} of ${it.given.from}` : "–", it.given && soft(`SHA-256 ${it.given.sha256.slice(0, 12)}…, ${milliseconds(it.given_ms)}`)));
}
