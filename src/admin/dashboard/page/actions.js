// What an operator does with masters, messages and alerts: each asks first, says what would follow, and takes a reason for the audit trail.

import { post, remove } from "./api.js";
import { because, confirm } from "./confirm.js";
import { h } from "./dom.js";
import { count, plural, rate, sentence } from "./format.js";

export function changeState(upstream, master, to) {
  const path = `/api/v1/upstreams/${encodeURIComponent(upstream.name)}/masters/${encodeURIComponent(master.name)}/operator-state`;
  const now = `${master.name} gets ${rate(master.standing?.requests_per_second ?? 0)} at present, ${count(master.in_flight)} in flight.`;
  const preview = async () => {
    const { effects } = await post(path, { state: to, dry_run: true });
    return [...(to === "ready" ? [] : [now]), ...effects.map(sentence)];
  };
  confirm({ title: `Set ${master.name} to ${to}`, preview, word: `Set to ${to}`, act: (reason) => post(path, { state: to, ...because(reason) }) });
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
  const fields = () => h("label", {}, "For ", h("select", { id: "duration", name: "duration" }, QUIET.map(([value, words]) => h("option", { value }, words))));
  const act = async (reason, { duration }) => { await post("/api/v1/alerts/silences", { matchers, duration, reason }); await then(); };
  confirm({ title: `Keep ${alert.rule} quiet`, preview, word: "Silence", act, fields });
}

export function endSilence(it, what, then) {
  confirm({ title: "End a silence", preview: [`${what} is told again.`], word: "End it", unexplained: true, act: async () => { await remove(`/api/v1/alerts/silences/${encodeURIComponent(it.id)}`); await then(); } });
}
