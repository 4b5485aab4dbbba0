// What an operator does about who serves: another master takes over, the preferred one does again, failures are forgotten.

import { post, Refused } from "./api.js";
import { because, confirm } from "./confirm.js";
import { h } from "./dom.js";
import { plural } from "./format.js";

const NAMED = 5;
// More would be no list to choose from; `baton ctl` takes any.
const CHOICES_MAX = 500;

export function accountsOf(accounts) {
  if (accounts.length === 0) return "everything";
  const names = accounts.map((name) => (name === "*" ? "every other account" : name));
  return names.length > NAMED ? `${names.slice(0, NAMED).join(", ")} and ${names.length - NAMED} more` : names.join(", ");
}

const choice = (label, name, choices) => [h("label", { for: `choice-${name}` }, label),
  h("select", { id: `choice-${name}`, name }, choices.slice(0, CHOICES_MAX).map(([value, words]) => h("option", { value }, words)))];

function whose(upstream) {
  const { groups } = upstream.failover;
  return groups.length > 1 && choice("Of", "account", [["", "every account"], ...groups.map((group) => [group.accounts[0], accountsOf(group.accounts)])]);
}

const moved = (it) => `${it.to} takes over ${accountsOf(it.accounts)}${it.from ? ` from ${it.from}` : ""}. ${plural(it.pins, "conversation that it has goes", "conversations that it has go")} along.`;

export function failover(upstream, then) {
  const masters = upstream.masters.map((it) => [it.name, it.name]);
  const fields = () => [whose(upstream), choice("To", "target", [["", "the best that stands by"], ...masters])];
  ask(upstream, "failover", { title: `Another master for ${upstream.name}`, word: "Fail over", fields }, then);
}

export function failback(upstream, then) {
  ask(upstream, "failback", { title: `Back to the preferred master of ${upstream.name}`, word: "Fail back", fields: () => whose(upstream) }, then);
}

export function reset(upstream, then) {
  const failed = upstream.masters.filter((it) => it.recovery && it.recovery.state !== "well").map((it) => [it.name, it.name]);
  const fields = () => choice("Of", "master", [["", "every master that has failed"], ...failed]);
  ask(upstream, "reset", { title: `Forget failures of ${upstream.name}`, word: "Reset", fields }, then);
}

function ask(upstream, action, question, then) {
  const path = `/api/v1/upstreams/${encodeURIComponent(upstream.name)}/${action}`;
  const chosen = (values) => Object.fromEntries(Object.entries(values).filter(([, value]) => value !== ""));
  const preview = async (values) => {
    const { moves, resets } = await post(path, { ...chosen(values), dry_run: true });
    const lines = [...moves.map(moved), ...resets.map((name) => `The failures of ${name} are forgotten: it may take over at once.`)];
    return lines.length > 0 ? lines : ["Nothing: no failure is remembered."];
  };
  const act = async (reason, values) => {
    const { moves } = await post(path, { ...chosen(values), ...because(reason) });
    await then();
    const undone = moves.filter((it) => !it.done);
    if (undone.length > 0) throw new Refused(409, { detail: `${accountsOf(undone.flatMap((it) => it.accounts))}: not taken over. The history says why.` });
  };
  confirm({ ...question, preview, act });
}
