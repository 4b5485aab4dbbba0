"""Medians of the samples, as tables."""

import datetime
import os
import platform
import re
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


def by_round(samples, direct):
    """The figures of one proxy, each as a list over the rounds; latency is what it adds to the median direct run."""
    saturated, fixed = samples["saturation"], samples["fixed"]
    rounds = {
        "cpu_us": [run["cpu_us"] for run in saturated],
        "user_us": [run["user_us"] for run in saturated],
        "rate_cpu_us": [run["cpu_us"] for run in fixed],
        "throughput": [run["requests"] / run["seconds"] for run in saturated],
        "busy": [run["proxy_busy"] * 100 for run in saturated],
    }
    for key in ("p50", "p99"):
        base = statistics.median(run["latency_us"][key] for run in direct)
        rounds[key] = [run["latency_us"][key] - base for run in fixed]
    return rounds


def medians(samples, rounds):
    """One number for each figure, with those that are taken once."""
    figures = {key: statistics.median(values) for key, values in rounds.items()}
    figures["spread"] = spread(rounds["cpu_us"])
    if samples.get("calls"):
        figures["calls"] = samples["calls"]
    if samples.get("memory"):
        figures["connection"] = samples["memory"]["connection"] / 1024
        figures["rest"] = samples["memory"]["rest"] / 1024 / 1024
    return figures


def paired_ratios(figures, rounds):
    """Each proxy against the first one: the median over the rounds of the ratio within a round.

    Samples of one round lie seconds apart, so that what slows the whole machine for a while cancels out. Added latency
    can be nothing or less in a round, so there it is the ratio of the medians.
    """
    reference = next(iter(figures))
    result = {}
    for name, values in figures.items():
        result[name] = {}
        for key, value in values.items():
            if key in rounds[name] and key not in ("p50", "p99"):
                pairs = zip(rounds[name][key], rounds[reference][key])
                result[name][key] = statistics.median(own / base for own, base in pairs)
            elif figures[reference].get(key, 0) > 0:
                result[name][key] = value / figures[reference][key]
    return result


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


def ratios(compared):
    rows = []
    for name, values in compared.items():
        rows.append([name, *(f"{values[key]:.2f}" if key in values else "" for key, _, _ in RATIOS)])
    return table(rows, ["", *(re.sub(r" \((µs|KiB|MiB)\)$", "", heading) for _, heading, _ in RATIOS)])


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def machine():
    """The kind of machine, without anything that names this one."""
    model = "unknown processor"
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), model)
    return f"{os.cpu_count()} cores ({model}, {platform.machine()}), Linux {platform.release().split('-')[0]}"


def write_section(path, text):
    """Puts a text that opens with a `# ` heading in the place of the section with that heading, or at the end."""
    heading = text.splitlines()[0]
    old = path.read_text() if path.exists() else ""
    sections = [section for section in re.split(r"(?m)^(?=# )", old) if section.strip()]
    kept = [section.rstrip() + "\n" for section in sections if section.splitlines()[0] != heading]
    at = next((n for n, section in enumerate(sections) if section.splitlines()[0] == heading), len(kept))
    path.write_text("\n".join(kept[:at] + [text.rstrip() + "\n"] + kept[at:]))


def summary(figures, compared, versions, direct, facts):
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

Small keep-alive HTTP/1.1 requests ({facts['request']}) over {facts['connections']} connections, round-robin over three masters.
Median of {facts['rounds']} interleaved rounds ({', '.join(['direct', *figures])}, and again).

{absolute(figures, versions)}

Ratios to {reference}, each the median of the ratios within a round; below 1.00 is better than {reference}, but for requests/s, where above 1.00 is better:

{ratios(compared)}

## How to read it

* *CPU per request* is the time the kernel has counted for every thread of the proxy, divided by the requests of the
  sample; ± is half the range over the rounds. *Of it its own code* leaves out the time in the kernel, where all of
  them make about the same calls, at a price that differs much between machines; *system calls* are counted in one more
  saturated sample. Saturated, a proxy handles many events for each wake-up; at the fixed rate nearly every request wakes
  it, which is what an ordinary day looks like.
* *requests/s* is what the load got. Where the proxy's core was less than about 95 % busy, the load's core was the limit
  and the proxy could have done more: compare the CPU per request.
* *added* latency is that of the proxy minus that of asking a master directly, by the same load in the same rounds
  (direct: p50 {direct['p50']:.0f} µs, p99 {direct['p99']:.0f} µs). The rate is {facts['rate']} requests/s for everyone, {facts['rate_reason']}, sent at
  exponential intervals and timed from the moment a request was due.
* *idle connection* is the growth of the proportional set size over {facts['idle']} connections that have each made one
  request, divided by their number; *at rest* is the same before they came. Kernel memory is not counted.

The proxies' configurations are in `benches/compare/peers.py`, each with the reason for what differs from its defaults.
"""
