// What was promised and how it was kept: budgets, burn rates, and the month's report.

import { get } from "./api.js";
import { h } from "./dom.js";
import { count, plural, span } from "./format.js";
import { changed } from "./live.js";
import { save } from "./save.js";

const EVERY = 10_000;
const ROWS_MAX = 300;
const sla = { view: null, error: null, at: 0, asking: false, saving: null };

const share = (value) => (value === null || value === undefined ? "–" : `${value} %`);

export function serviceLevel() {
  void renew();
  if (!sla.view) return [h("p", { class: "card soft" }, sla.error ?? "Being read.")];
  const promised = sla.view.items.filter((item) => item.promise);
  return [
    promised.length === 0 && h("p", { class: "card" }, "Nothing is promised: ", h("code", {}, "sla: { objective: 99.9 }"), " in a route or an upstream makes it a budget."),
    h("div", { class: "grid" }, ...promised.slice(0, 24).map(budget)),
    h("h2", {}, "How it was kept"),
    h("div", { class: "card scroll" }, table(sla.view.items)),
    h("h2", {}, "Report of the month"),
    h("div", { class: "card controls" }, ["html", "csv", "json"].map((format) =>
      h("button", { type: "button", onclick: () => report(format) }, `Save as ${format.toUpperCase()}`)),
    sla.saving && h("p", { class: "soft", role: "status" }, sla.saving)),
  ].filter(Boolean);
}

function budget({ name, promise, budget: left, burn }) {
  const burning = burn.filter((rule) => rule.burning);
  const spent = left.remaining_percent !== null && left.remaining_percent <= 0;
  const [kind, word] = promise.maintenance ? ["warn", "in maintenance"]
    : spent ? ["bad", "budget spent"]
    : burning.some((rule) => rule.page) ? ["bad", "burning fast"]
    : burning.length > 0 ? ["warn", "burning"]
    : left.remaining_percent === null ? ["warn", "nothing to measure yet"] : ["ok", "kept"];
  const unit = promise.by === "time" ? "seconds of downtime" : "failed requests";
  return h("section", { class: "card", id: `sla-${name.replaceAll("/", "-")}` },
    h("div", { class: "head" }, h("h2", {}, name), h("span", { class: `state ${kind}` }, word)),
    h("p", {}, `${promise.objective_percent} % of ${promise.by} over ${span(promise.period_seconds)}.`),
    h("label", {}, `${share(left.remaining_percent)} of the error budget is left `,
      h("meter", { min: 0, max: 100, low: 25, high: 50, optimum: 100, value: Math.max(0, left.remaining_percent ?? 100) })),
    h("p", { class: "soft" }, `${count(left.spent)} of ${count(left.allowed)} ${unit} that the period allows`),
    h("table", {}, h("thead", {}, h("tr", {}, ["Burns over", "rate", "alarm from"].map((title) => h("th", {}, title)))),
      h("tbody", {}, burn.map((rule) => h("tr", {},
        h("td", {}, `${span(rule.long_seconds)} and ${span(rule.short_seconds)}`),
        h("td", {}, `${factor(rule.long)} · ${factor(rule.short)}`),
        h("td", {}, factor(rule.threshold), rule.burning && " ", rule.burning && h("span", { class: `state ${rule.page ? "bad" : "warn"}` }, "burning")))))));
}

const factor = (rate) => (rate === null || rate === undefined ? "–" : `${rate}×`);

function table(items) {
  const rows = items.slice(0, ROWS_MAX).map((item) => {
    const of = (seconds) => item.windows.find((window) => window.seconds === seconds);
    const month = of(2592000);
    return h("tr", {}, h("td", {}, item.name), h("td", {}, share(of(3600)?.availability_percent)), h("td", {}, share(of(86400)?.availability_percent)),
      h("td", {}, share(month?.availability_percent)), h("td", {}, share(month?.uptime_percent)),
      h("td", {}, month?.down_seconds > 0 ? span(month.down_seconds) : "–"), h("td", {}, month?.maintenance_seconds > 0 ? span(month.maintenance_seconds) : "–"));
  });
  return [
    h("table", { id: "availability" },
      h("thead", {}, h("tr", {}, ["Of", "1 h", "24 h", "30 days", "Uptime", "Down", "Maintenance"].map((title) => h("th", {}, title)))),
      h("tbody", {}, rows)),
    items.length > ROWS_MAX && h("p", { class: "soft" }, `and ${plural(items.length - ROWS_MAX, "more", "more")}`),
  ];
}

async function renew() {
  if (sla.asking || Date.now() - sla.at < EVERY) return;
  sla.asking = true;
  try {
    sla.view = await get("/api/v1/sla", AbortSignal.timeout(5000));
    sla.error = null;
  } catch (error) {
    sla.error = error.message;
  }
  Object.assign(sla, { asking: false, at: Date.now() });
  changed();
}

async function report(format) {
  sla.saving = await save(`/api/v1/sla/report?format=${format}`, `sla-${new Date().toISOString().slice(0, 7)}.${format}`);
  changed();
}
