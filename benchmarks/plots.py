"""Draw the results, the same for the same numbers, to be read on a light or a dark page."""

from __future__ import annotations

import os
import re

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.ticker import NullFormatter

mpl.use("svg")

GREY = "#808890"
STYLE = {
    "svg.hashsalt": "aritma-session",
    "svg.fonttype": "none",  # the reader's own font, and text that can be searched for
    "font.family": "sans-serif",
    "font.size": 10,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), GREY),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GREY,
    "grid.alpha": 0.25,
}

#: Of middling lightness, so that they stand out from white and from black.
COLOURS = {
    "aritma_session": "#1f8fff",
    "plain requests": GREY,
    "requests-oauthlib": "#e0701f",
    "authlib": "#2ca05a",
    "google-auth": "#d64550",
    "requests_oauth2client": "#9a6fd0",
    "msal-extensions": "#b8860b",
}


def draw(results, directory):
    """Draw what the results have; what was not measured is not drawn."""
    rows = {row["name"]: row for row in results["rows"]}
    with plt.rc_context(STYLE):
        if "call" in rows:
            _save(_overhead(rows["call"]), directory, "overhead")
        if any(name.startswith("processes-") for name in rows):
            _save(_growth(rows, "processes"), directory, "processes")
        if any(name.startswith("threads-") for name in rows):
            _save(_growth(rows, "threads"), directory, "threads")
        if "latency" in results["series"]:
            _save(_latency(results["series"]["latency"]), directory, "latency")


def _save(figure, directory, name):
    path = os.path.join(directory, f"{name}.svg")
    figure.savefig(path, transparent=True, bbox_inches="tight", metadata={"Date": None, "Creator": None})
    plt.close(figure)


def _overhead(row):
    """One bar for each contender: the client's time of one call; the line is plain requests."""
    names = sorted(row["values"], key=lambda name: -row["values"][name]["median"])
    times = [row["values"][name]["median"] * 1e6 for name in names]
    figure, axes = plt.subplots(figsize=(7, 0.45 * len(names) + 0.8))
    bars = axes.barh(names, times, color=[COLOURS[name] for name in names], height=0.6)
    axes.bar_label(bars, [f"{time:.0f}" for time in times], padding=3)
    axes.axvline(row["values"]["plain requests"]["median"] * 1e6, color=GREY, linestyle=":")
    axes.set_xlabel("client's time of one authorised GET, µs")
    return figure


def _growth(rows, what):
    """Token requests, and time, against how many there are of something."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.4))
    shown = {"requests": "token requests", "time": "seconds until the last is done"}
    for axes, (measure, label) in zip(panels, shown.items(), strict=True):
        found = {}
        for name, row in rows.items():
            match = re.fullmatch(rf"{what}-(\d+)-{measure}", name)
            for contender, figure_ in row["values"].items() if match else ():
                found.setdefault(contender, []).append((int(match[1]), figure_["median"]))
        for contender in [name for name in COLOURS if name in found]:
            if measure == "requests" and contender == "plain requests":
                continue  # it makes none
            counts, values = zip(*sorted(found[contender]), strict=True)
            over = 3 if contender == "aritma_session" else 2
            axes.plot(counts, values, "o-", markersize=4, color=COLOURS[contender], label=contender, zorder=over)
        axes.set(xscale="log", yscale="log", xlabel=what, ylabel=label)
        _plain_numbers(axes.xaxis, axes.yaxis)
        axes.grid(visible=True)
    lines, labels = panels[1].get_legend_handles_labels()  # all are there
    figure.legend(lines, labels, loc="lower center", ncols=4, frameon=False, bbox_to_anchor=(0.5, 1))
    figure.tight_layout()
    return figure


def _latency(series):
    """A panel for each contender, one below the other: the longest call of each moment."""
    names = [name for name in COLOURS if name in series]
    figure, panels = plt.subplots(len(names), 1, figsize=(8, 1.1 * len(names) + 0.6), sharex=True, sharey=True)
    for axes, name in zip(panels, names, strict=True):
        times, tooks = zip(*series[name], strict=True)
        axes.vlines(times, 0.5, [took * 1e3 for took in tooks], color=COLOURS[name], linewidth=1)
        axes.set(yscale="log", ylim=(0.5, 1000))
        _plain_numbers(axes.yaxis)
        axes.set_title(name, loc="left", fontsize=10, color=COLOURS[name], pad=2)
        axes.grid(visible=True, axis="y")
    panels[-1].set_xlabel("seconds; each token lives 3, and is answered for after 0.3")
    panels[len(names) // 2].set_ylabel("longest call, ms")
    figure.tight_layout()
    return figure


def _plain_numbers(*scales):
    """Write 100, and not a power of ten."""
    for scale in scales:
        scale.set_major_formatter("{x:g}")
        scale.set_minor_formatter(NullFormatter())
