"""The record of a run as Markdown: medians over the rounds with their range, and how Baton stands to its targets."""

import statistics

import report

# key, heading, digits, unit
COLUMNS = (
    ("failed", "not answered 2xx", 0, ""),
    ("slowest_ms", "slowest answer", 0, " ms"),
    ("taken_over_ms", "taken over after", 0, " ms"),
    ("lost", "lost", 0, ""),
    ("again", "read again", 0, ""),
    ("needless", "needlessly", 0, ""),
    ("disorder", "out of order", 0, ""),
)
# Beyond these other programs show in the times.
BUSY_CORES, LATE_MS = 0.1, 25

# Milliseconds until Baton has taken over.
TARGETS = {"crash": 100, "hang": 1000, "probes": 15_000}
# What must not happen at all; what is stored on failure must also be answered.
NEVER = ("lost", "needless", "disorder")
STORING = ("baton-inline-then-spool", "baton-spool")

TEXT = """\
# Failover

Written by `benches/failover/run`; what it does, and what the columns are, is told at its top.

* Date: {date}
* Command: `{command}`
* Machine: {machine}; the proxy has one core and one worker, the gateway and the masters share another
* {others}

{rate} webhooks a second of {conversations} conversations, {sent} in a run, to one master with a standby; each takes a master {work} ms.
Median of {rounds}, with the range where they differ.

{table}

{legend}

{verdict}
"""


def number(value, digits, unit):
    return f"{value:.{digits}f}{unit}"


def cell(values, digits, unit):
    """The median, and the range where there is one to be seen; `never` counts as longer than anything."""
    known = sorted(value for value in values if value is not None)
    if len(known) < len(values):
        return "never" if not known else f"never in {len(values) - len(known)} of {len(values)}"
    least, most = (number(value, digits, "") for value in (known[0], known[-1]))
    middle = number(statistics.median(known), digits, unit)
    return middle if least == most else f"{middle} ({least} to {most})"


def line(seen):
    """One run, for the terminal."""
    told = ", ".join(f"{heading} {cell([seen[key]], digits, unit)}" for key, heading, digits, unit in COLUMNS)
    return f"{told}; gateway {seen['late_ms']:.0f} ms late"


def misses(samples):
    """The targets that Baton has missed, in words. Times by the median, everything else in any round."""
    found = []
    for (fault, name), seen in samples.items():
        if not name.startswith("baton"):
            continue
        times = [each["taken_over_ms"] for each in seen]
        if fault in TARGETS:
            known = None not in times and statistics.median(times)
            if known is False or known > TARGETS[fault]:
                found.append(f"{fault}, {name}: taken over {cell(times, 0, ' ms')}, not within {TARGETS[fault]} ms")
        for key, heading, _, _ in COLUMNS:
            worst = max(each[key] or 0 for each in seen)
            if worst and (key in NEVER or (key == "failed" and name in STORING)):
                found.append(f"{fault}, {name}: {worst} {heading}")
    return found


def verdict(samples):
    if not any(name.startswith("baton") for _, name in samples):
        return ""
    aims = ", ".join(f"{fault} {limit} ms" for fault, limit in TARGETS.items())
    told = (
        f"Baton's targets: taken over after {aims}; nothing lost, needlessly read again or out of order, and with a"
        " store nothing answered other than 2xx."
    )
    found = misses(samples)
    return told + (" Missed:\n\n" + "\n".join(f"* {each}" for each in found) if found else " All of them are met.")


def others(samples):
    every = [each for seen in samples.values() for each in seen]
    used, late = (statistics.median(each[key] for each in every) for key in ("others", "late_ms"))
    told = f"Other programs used {used:.2f} cores before the runs, the gateway was {late:.0f} ms late at most (medians)"
    quiet = used < BUSY_CORES and late < LATE_MS
    return told + ("." if quiet else ": a busy machine, so the times are worse than on a quiet one.")


def text(samples, versions, facts):
    rows = []
    for (fault, name), seen in samples.items():
        cells = [cell([each[key] for each in seen], digits, unit) for key, _, digits, unit in COLUMNS]
        rows.append([f"{fault}, {name} {versions[name]}", *cells])
    table = report.table(rows, ["fault, proxy", *(heading for _, heading, _, _ in COLUMNS)])
    sent = statistics.median(each["sent"] for seen in samples.values() for each in seen)
    rounds = "one round" if facts["rounds"] == 1 else f"{facts['rounds']} interleaved rounds"
    return TEXT.format(
        **{**facts, "rounds": rounds}, others=others(samples), table=table, sent=f"about {sent:.0f}", verdict=verdict(samples)
    )
