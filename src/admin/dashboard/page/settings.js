// Settings that change at run time, and the way back to the file.

import { post } from "./api.js";
import { because, confirm } from "./confirm.js";
import { h } from "./dom.js";
import { state } from "./live.js";

// As the configuration writes them.
const STRATEGIES = ["round-robin", "weighted-round-robin", "priority", "least-loaded", "geo", "ip-hash", "consistent-hash", "peak-ewma", "random"];
const SETTING_MAX = 1000;

// What the server says would change, and what it warns of.
function said({ changes, warnings }) {
  const warned = warnings.map((it) => `Warning: ${it.message}${it.key ? ` (${it.key})` : ""}`);
  return [...(changes.length > 0 ? changes : ["Nothing changes."]), ...warned];
}

function ask(path, question, body) {
  confirm({ ...question,
    preview: async (values) => said(await post(path, { ...body(values), dry_run: true })),
    act: (reason, values) => post(path, { ...body(values), ...because(reason) }) });
}

const of = (upstream) => `/api/v1/upstreams/${encodeURIComponent(upstream)}`;

export function changeStrategy(upstream) {
  const fields = () => [h("label", { for: "strategy" }, "Strategy"),
    h("select", { id: "strategy", name: "strategy" }, STRATEGIES.map((word) => h("option", { value: word, selected: word === upstream.strategy }, word)))];
  ask(`${of(upstream.name)}/strategy`, { title: `How the masters of ${upstream.name} are picked`, word: "Set", fields }, ({ strategy }) => ({ strategy }));
}

// `key` is `weight` or `priority`.
export function changeNumber(upstream, master, key) {
  const least = key === "weight" ? 1 : 0;
  let wanted = master[key];
  const fields = () => [h("label", { for: key }, key === "weight" ? "Weight: its part of the load, in proportion to the others'" : "Priority: 0 is the most preferred"),
    h("input", { id: key, name: key, type: "number", min: least, max: SETTING_MAX, step: 1, required: true, value: wanted, oninput: (event) => { wanted = event.target.value; } })];
  ask(`${of(upstream.name)}/masters/${encodeURIComponent(master.name)}/${key}`, { title: `The ${key} of ${master.name}`, word: "Set", fields }, (values) => ({ [key]: Number(values[key]) }));
}

function toFile() {
  ask("/api/v1/config/reload", { title: "Go by the file", word: "Go by the file" }, () => ({ discard: true }));
}

// Says that something else than the file is in use, and has the way back; nothing where the file is.
export function notTheFile() {
  const { rolled_back_to: back, set_at_run_time: set, config_error: refused } = state.status;
  const why = typeof back === "number" ? ["rolled back", `Generation ${back} of the configuration is used in the place of what the file says, until the file changes.`]
    : set && ["set at run time", "Settings that were changed here are used in the place of what the file says, until the file changes."];
  if (!why) return false;
  return h("section", { class: "card head", id: "not-the-file" },
    h("p", {}, h("span", { class: "state warn" }, why[0]), ` ${why[1]}`, refused && " The newest file is refused."),
    h("div", { class: "buttons" }, h("button", { type: "button", onclick: toFile }, "Go by the file")));
}
