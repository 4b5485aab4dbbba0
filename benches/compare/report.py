"""Medians of the samples, as tables."""

import os
import platform
import statistics

COLUMNS = [
    # key, heading, digits, unit text
    ("cpu_us", "CPU per request, saturated (µs)", 2),
    ("user_us", "of it its own code (µs)", 2),
    ("calls", "system calls per request", 2),
    ("rate_cpu_us", "CPU per request, fixed rate (µs)", 2),
    ("throughput", "requests/s, saturated", 0),
    ("busy", "proxy's core busy (%)", 0),
    ("p50", "added p50 (µs)", 0),
    ("p99", "added p99 (µs)", 0),
    ("connection", "idle connection (KiB)", 2),
    ("rest", "at rest (MiB)", 1),
]
# A busy share is no merit in itself.
RATIOS = [column for column in COLUMNS if column[0] != "busy"]


def medians(samples, direct):
    """The figures of one proxy from its samples; latency is added to that of the same round's direct run."""

    def median(values):
        return statistics.median(values)

    saturated, fixed = samples["saturation"], samples["fixed"]
    figures = {
        "cpu_us": median([run["cpu_us"] for run in saturated]),
        "user_us": median([run["user_us"] for run in saturated]),
        "rate_cpu_us": median([run["cpu_us"] for run in fixed]),
        "throughput": median([run["requests"] / run["seconds"] for run in saturated]),
        "busy": median([run["proxy_busy"] for run in saturated]) * 100,
        "spread": spread([run["cpu_us"] for run in saturated]),
    }
    for key in ("p50", "p99"):
        figures[key] = median([run["latency_us"][key] - base["latency_us"][key] for run, base in zip(fixed, direct)])
    if samples.get("calls"):
        figures["calls"] = samples["calls"]
    if samples.get("memory"):
        figures["connection"] = samples["memory"]["connection"] / 1024
        figures["rest"] = samples["memory"]["rest"] / 1024 / 1024
    return figures


def spread(values):
    """Half the range, as a share of the median: what a difference between two proxies has to exceed."""
    return (max(values) - min(values)) / 2 / statistics.median(values)


def table(rows, headings):
    lines = ["| " + " | ".join(headings) + " |", "|---" + "|---:" * (len(headings) - 1) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def absolute(figures, versions):
    rows = []
    for name, values in figures.items():
        cells = [f"{values[key]:.{digits}f}" if key in values else "" for key, _, digits in COLUMNS]
        cells[0] += f" ±{values['spread'] * 100:.0f} %"
        rows.append([f"{name} {versions[name]}", *cells])
    return table(rows, ["", *(heading for _, heading, _ in COLUMNS)])


def ratios(figures, reference):
    base = figures[reference]
    rows = []
    for name, values in figures.items():
        cells = [f"{values[key] / base[key]:.2f}" if base.get(key) and key in values else "" for key, _, _ in RATIOS]
        rows.append([name, *cells])
    return table(rows, ["", *(heading.split(" (")[0] for _, heading, _ in RATIOS)])


def machine():
    """The kind of machine, without anything that names this one."""
    model = "unknown processor"
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), model)
    return f"{os.cpu_count()} cores ({model}, {platform.machine()}), Linux {platform.release().split('-')[0]}"


def summary(figures, versions, direct, facts):
    """The whole record as Markdown."""
    reference = next(iter(figures))
    others = facts["others"]
    quiet = f"Other programs used {others:.2f} cores meanwhile (median of the samples)"
    quiet += "." if others < 0.05 else ", so the absolute figures and the tails are worse than on a quiet machine."
    return f"""\
# Side by side

Baton and the proxies its users would otherwise choose, in one run on one machine. Written by `benches/compare/run`.

* Date: {facts['date']}
* Command: `{facts['command']}`
* Machine: {facts['machine']}; every proxy has one core and one worker, the load and the three masters share another
* {quiet}
* {facts['priority']}

Small keep-alive HTTP/1.1 requests over {facts['connections']} connections, round-robin over three masters.
Median of {facts['rounds']} interleaved rounds ({', '.join(['direct', *figures])}, and again).

{absolute(figures, versions)}

Ratios to {reference}; below 1.00 is better than {reference}, but for requests/s, where above 1.00 is better:

{ratios(figures, reference)}

## How to read it

* *CPU per request* is the time the kernel has counted for every thread of the proxy, divided by the requests of the
  sample; ± is half the range over the rounds. *Of it its own code* leaves out the time in the kernel, where all of
  them make about the same calls, at a price that differs much between machines; *system calls* are counted in one more saturated sample. Saturated, a proxy handles many events for each wake-up; at the fixed rate
  nearly every request wakes it, which is what an ordinary day looks like.
* *requests/s* is what the load got. Where the proxy's core was less than about 95 % busy, the load's core was the limit
  and the proxy could have done more: compare the CPU per request.
* *added* latency is that of the proxy minus that of asking a master directly, by the same load in the same round
  (direct: p50 {direct['p50']:.0f} µs, p99 {direct['p99']:.0f} µs). The rate is {facts['rate']} requests/s for
  everyone, half of what the slowest proxy of the run managed, sent at exponential intervals and timed from the moment a
  request was due.
* *idle connection* is the growth of the proportional set size over {facts['idle']} connections that have each made one
  request, divided by their number; *at rest* is the same before they came. Kernel memory is not counted.

The proxies' configurations are in `benches/compare/peers.py`, each with the reason for what differs from its defaults.
"""
