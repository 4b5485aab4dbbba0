// The first screen: whether all is well, what is not, since when, and what Baton did about it.

import { alertLine } from "./alerts.js";
import { h } from "./dom.js";
import { count, milliseconds, percent, plural, rate, since, span } from "./format.js";
import { choose, state } from "./live.js";
import { plot } from "./plot.js";
import { notTheFile } from "./settings.js";
import { eventItem } from "./timeline.js";
import { standingState } from "./words.js";

const VERDICTS = {
  ok: ["ok", "All is well: customers are being answered"],
  impaired: ["warn", "Customers are being answered, but not all is well"],
  down: ["bad", "Customers are not being answered"],
};
const SERIES_MAX = 200;

export function overview() {
  const { status } = state;
  return [
    verdict(status),
    notTheFile(),
    h("div", { class: "grid" }, ...status.upstreams.slice(0, 24).map(upstream)),
    status.upstreams.length > 24 && h("p", { class: "soft" }, `and ${status.upstreams.length - 24} more: see Masters`),
    h("h2", {}, "How it went"),
    controls(status),
    h("div", { class: "grid" }, ...plots()),
  ].filter(Boolean);
}

function verdict(status) {
  const { standing } = status;
  const [kind, words] = VERDICTS[standing?.state] ?? ["warn", "Not known yet: Baton has just started"];
  const reasons = [
    ...(standing?.reasons ?? []).map((reason) => [`${reason.text}`, `−${reason.points}`]),
    ...(status.config_error ? [["The newest configuration is refused, an older one stays in use", ""]] : []),
  ];
  const acts = state.events.filter((event) => event.severity !== "info" || ACTS.has(event.kind)).slice(0, 5);
  return h("section", { class: `card verdict ${kind}`, id: "verdict" },
    h("p", { class: "say state" + ` ${kind}` }, words),
    h("p", {}, standing ? `For ${since(standing.since)}. ` : "", `Health ${status.health_score} of 100. `,
      `${rate(standing?.requests_per_second)}, ${percent(standing?.error_ratio)} failed in the last minute, `,
      `99 of 100 answered within ${milliseconds(standing?.p99_ms)}. `,
      backlog(status.spool)),
    alertLine(),
    reasons.length > 0 && h("div", {}, h("h3", {}, "What is not"),
      h("ul", { class: "plain" }, reasons.map(([text, points]) => h("li", {}, text, " ", h("span", { class: "soft" }, points))))),
    acts.length > 0 && h("div", {}, h("h3", {}, "What happened, and what Baton did"),
      h("ul", { class: "plain" }, acts.map(eventItem))),
    h("p", { class: "soft" }, `Baton ${status.version}, generation ${status.generation} of the configuration, running for ${span(status.uptime_seconds)}`));
}

const ACTS = new Set(["master-health", "upstream-up", "config-applied", "circuit-closed", "operator-state", "upgrade-completed", "spool-room"]);

function backlog(spool) {
  if (spool.failed) return "Messages cannot be stored: the disk failed. ";
  const full = spool.full ? `There is no room for more messages (${spool.full}). ` : "";
  const waiting = spool.pending > 0 ? `${plural(spool.pending, "message waits", "messages wait")}, the oldest for ${span(spool.oldest_seconds)}. ` : "No message waits. ";
  const dead = spool.dead_letters > 0 ? `${plural(spool.dead_letters, "dead letter", "dead letters")}. ` : "";
  return full + waiting + dead;
}

function upstream(it) {
  const usable = it.masters.filter((master) => master.usable).length;
  const [kind, word] = standingState(it.standing);
  const distribution = it.standing?.distribution;
  return h("section", { class: "card", id: `upstream-${it.name}` },
    h("div", { class: "head" }, h("h2", {}, it.name), h("span", { class: `state ${kind}` }, word)),
    h("p", {}, `${usable} of ${plural(it.masters.length, "master", "masters")} in rotation. `,
      `${rate(it.standing?.requests_per_second)}, ${percent(it.standing?.error_ratio)} failed, p99 ${milliseconds(it.standing?.p99_ms)}.`,
      it.active ? ` Active: ${it.active}.` : ""),
    distribution && h("p", { class: "soft" }, `Load is spread ${distribution.quality} of 100 evenly. ${distribution.reasons?.join("; ") ?? ""}`),
    h("ul", { class: "plain" }, it.masters.slice(0, 20).map((master) => {
      const [tone, said] = standingState(master.standing, master);
      return h("li", { class: "head" }, h("span", {}, h("span", { class: `state ${tone}` }, said), " ", master.name),
        h("span", { class: "soft" }, `${rate(master.standing?.requests_per_second)} · ${count(master.in_flight)} in flight`));
    })),
    it.masters.length > 20 && h("p", { class: "soft" }, `and ${it.masters.length - 20} more`));
}

function controls(status) {
  const series = ["system",
    ...status.upstreams.map((it) => `upstream/${it.name}`),
    ...(status.routes ?? []).map((it) => `route/${it.name}`),
    ...status.upstreams.flatMap((it) => it.masters.map((master) => `master/${it.name}/${master.name}`))].slice(0, SERIES_MAX);
  return h("div", { class: "controls" },
    h("label", {}, "Of ", h("select", { id: "series", value: state.series, onchange: (event) => choose(event.target.value) },
      series.map((name) => h("option", { value: name, selected: name === state.series }, name === "system" ? "everything" : name)))),
    h("label", {}, "over ", h("select", { id: "range", value: state.range, onchange: (event) => choose(state.series, event.target.value) },
      [["10m", "10 minutes"], ["6h", "6 hours"], ["30d", "30 days"]].map(([value, words]) => h("option", { value, selected: value === state.range }, words)))));
}

function plots() {
  const { trends } = state;
  if (!trends) return [h("p", { class: "soft" }, "Not measured yet.")];
  const { start, step } = trends;
  return [
    plot({ id: "traffic", title: "Traffic", start, step, format: rate, lines: [{ values: trends.requests_per_second }] }),
    plot({ id: "latency", title: "Answered within", start, step, format: milliseconds, lines: [{ name: "p50", values: trends.p50_ms }, { name: "p99", values: trends.p99_ms }] }),
    plot({ id: "errors", title: "Failed", start, step, format: percent, most: 0.01, lines: [{ values: trends.error_ratio }] }),
    plot({ id: "in-flight", title: "In flight", start, step, format: count, lines: [{ values: trends.in_flight }] }),
    plot({ id: "backlog", title: "Messages waiting", start, step, format: count, lines: [{ values: trends.pending }] }),
    plot({ id: "health", title: "Health", start, step, format: count, most: 100, lines: [{ values: trends.health }] }),
  ];
}
