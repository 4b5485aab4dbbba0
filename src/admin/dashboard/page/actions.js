// What an operator does: each asks first, says what would follow, and takes a reason for the audit trail.

import { post, Refused, remove, token } from "./api.js";
import { h, show } from "./dom.js";
import { count, plural, rate } from "./format.js";
import { refresh } from "./live.js";
import { signIn } from "./session.js";

const REASON_MAX = 200;

// Asks whether to go on. `act` is given the reason, and its failure is shown in place.
function confirm(question) {
  const { title, preview, word, act, more } = question;
  if (!token.get()) return signIn("Changes need a token of an operator.", () => confirm(question));
  const dialog = document.getElementById("dialog");
  let failed = null;
  let busy = false;
  const draw = () => show(dialog, h("form", { method: "dialog", onsubmit: submit },
    h("h2", { id: "dialog-title" }, title),
    h("ul", { class: "plain", id: "preview" }, preview.map((line) => h("li", {}, line))),
    more?.(),
    h("label", { for: "reason" }, "Why (for the audit trail)"),
    h("input", { id: "reason", maxlength: REASON_MAX, autocomplete: "off" }),
    failed && h("p", { class: "error", role: "alert" }, failed),
    h("div", { class: "buttons" },
      h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
      h("button", { class: "main", disabled: busy }, word))));
  const submit = async (event) => {
    event.preventDefault();
    const reason = document.getElementById("reason").value.trim();
    [busy, failed] = [true, null];
    draw();
    try {
      await act(reason);
      dialog.close();
      await refresh();
    } catch (error) {
      busy = false;
      failed = error instanceof Refused ? error.message : "Baton cannot be reached: whether it was done is not known.";
      draw();
      if (error instanceof Refused && error.status === 401) signIn(failed, () => confirm(question));
    }
  };
  draw();
  dialog.showModal();
}

export function changeState(upstream, master, to) {
  const others = upstream.masters.filter((it) => it.name !== master.name && it.usable);
  const alone = master.usable && others.length === 0;
  const takers = others.length > 0 ? `${plural(others.length, "other master", "other masters")} of ${upstream.name} (${others.slice(0, 5).map((it) => it.name).join(", ")}${others.length > 5 ? ", …" : ""})` : "no other master";
  const now = `${master.name} gets ${rate(master.standing?.requests_per_second ?? 0)} at present, ${count(master.in_flight)} in flight.`;
  const preview = {
    ready: [`${master.name} gets new conversations again as soon as its probes pass.`],
    drain: [now, `New conversations go to ${takers}; those that it has stay with it.`],
    maintenance: [now, `Everything goes to ${takers}, its own conversations too; what is in flight is finished, probes stop.`],
  }[to];
  if (alone && to !== "ready") preview.push(to === "drain" ? "It is the only one in rotation: it will go on getting everything." : "It is the only one in rotation: customers will NOT be answered.");
  const path = `/api/v1/upstreams/${encodeURIComponent(upstream.name)}/masters/${encodeURIComponent(master.name)}/operator-state`;
  const act = (reason) => post(path, reason ? { state: to, reason } : { state: to });
  confirm({ title: `Set ${master.name} to ${to}`, preview, word: `Set to ${to}`, act });
}

const which = (wanted, reason) => (reason ? { ...wanted, comment: reason } : wanted);

export function replay(wanted, number, then) {
  const preview = [`${plural(number, "message is", "messages are")} delivered again, ${number === 1 ? "" : "each "}in the order of its conversation, marked as a repeat.`, "A bot that has handled it before has to know it by its id."];
  confirm({ title: "Replay", preview, word: "Replay", act: async (reason) => { await post("/api/v1/dead-letters/replay", which(wanted, reason)); await then(); } });
}

export function discard(wanted, number, then) {
  const preview = [`${plural(number, "message is", "messages are")} deleted and will never be delivered. This cannot be undone.`];
  confirm({ title: "Discard", preview, word: "Discard", act: async (reason) => { await post("/api/v1/dead-letters/discard", which(wanted, reason)); await then(); } });
}

export function acknowledge(alert, then) {
  const preview = [alert.summary, "Others see that you look after it; it goes on until it is over, and is not told again."];
  const act = async (note) => { await post(`/api/v1/alerts/${encodeURIComponent(alert.id)}/acknowledge`, note ? { note } : {}); await then(); };
  confirm({ title: `Look after ${alert.rule}`, preview, word: "Acknowledge", act });
}

const QUIET = [["1h", "an hour"], ["8h", "8 hours"], ["24h", "a day"], ["7d", "a week"]];

export function silence(alert, then) {
  const labels = { alertname: alert.rule, ...Object.fromEntries(["upstream", "master", "route", "name"].filter((label) => alert[label]).map((label) => [label, alert[label]])) };
  const matchers = Object.entries(labels).map(([label, value]) => ({ label, value }));
  const what = matchers.map(({ label, value }) => `${label} ${value}`).join(", ");
  const preview = [`Nobody is told of ${what}; it stays on the page. A reason has to be given.`];
  const more = () => h("label", {}, "For ", h("select", { id: "duration" }, QUIET.map(([value, words]) => h("option", { value }, words))));
  const act = async (reason) => { await post("/api/v1/alerts/silences", { matchers, duration: document.getElementById("duration").value, reason }); await then(); };
  confirm({ title: `Keep ${alert.rule} quiet`, preview, word: "Silence", act, more });
}

export function endSilence(it, what, then) {
  confirm({ title: "End a silence", preview: [`${what} is told again.`], word: "End it", act: async () => { await remove(`/api/v1/alerts/silences/${encodeURIComponent(it.id)}`); await then(); } });
}
