// The words for states, each with its tone, so that colour is never the only sign.

const STANDINGS = { ok: ["ok", "well"], impaired: ["warn", "impaired"], down: ["bad", "down"] };

// Of an upstream, a route or the whole; of a master if one is given.
export function standingState(standing, master) {
  if (master) return masterState(master);
  return STANDINGS[standing?.state] ?? ["warn", "not known yet"];
}

export function masterState(master) {
  if (master.operator_state === "maintenance") return ["warn", "maintenance"];
  if (master.health === "failed" || master.dead) return ["bad", "failed"];
  if (master.health === "unknown") return ["warn", "not known yet"];
  if (master.role === "fenced") return ["bad", "fenced"];
  if (master.circuit === "open") return ["bad", "circuit open"];
  if (master.circuit === "half-open") return ["warn", "circuit half-open"];
  if (master.ejected) return ["warn", "put aside"];
  if (master.suspect) return ["warn", "suspected"];
  if (master.operator_state === "drain") return ["warn", "draining"];
  if (master.health === "degraded") return ["warn", "degraded"];
  return ["ok", master.role === "standby" ? "standing by" : "well"];
}

export const severity = { info: ["ok", "info"], warning: ["warn", "warning"], critical: ["bad", "critical"] };
