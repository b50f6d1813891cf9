"""Tables of the results, which are plain to read and reStructuredText as well."""

from __future__ import annotations

OURS = "aritma_session"

#: Seconds of one of each unit.
UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))


def tables(results):
    """Everything, as text."""
    machine = results["machine"]
    about = f"{machine['implementation']} {machine['python']}, {machine['cpus']} CPUs, {machine['system']}; "
    about += ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    how = " A quick run, good for a first look only." if results["quick"] else ""
    if results["failed"]:
        how += f" Could not be measured to the end: {', '.join(results['failed'])}."
    return "\n".join(
        [
            "Ours against the peer, and the target",
            "",
            against(results["rows"]),
            "",
            "All contenders",
            "",
            contenders(results["rows"]),
            "",
            about + "." + how,
            "",
        ]
    )


def against(rows):
    """The rows that have a target, or a peer."""
    lines = [("measure", "ours", "peer", "result", "spread", "target", "")]
    for row in rows:
        if row["target"] is None and row["peer"] is None:
            continue
        cells = (_value(row, OURS), _peer(row), _result(row), _spread(row), _target(row), _met(row))
        lines.append((row["measure"], *cells))
    return table(lines)


def contenders(rows):
    """What each needed, a column for each contender that takes part in more than one row."""
    held = [row for row in rows if row["values"]]
    times = [name for row in held for name in row["values"]]
    columns = [name for name in dict.fromkeys(times) if times.count(name) > 1]
    lines = [("measure", *columns)]
    for row in held:
        lines.append((row["measure"], *(_value(row, name) for name in columns)))
        lines.extend((f"peer: {name}", _value(row, name)) for name in row["values"] if name not in columns)
    return table(lines)


def table(lines):
    """Draw a simple table of reStructuredText; lines that are too short are filled up."""
    width = len(lines[0])
    lines = [(*line, *[""] * (width - len(line))) for line in lines]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(width)]
    rule = "  ".join("=" * wide for wide in widths)
    head, *body = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join([rule, head, rule, *body, rule])


def shown(value, unit):
    """A number with three digits that count, and its unit."""
    if unit == "s":
        name, size = next(((name, size) for name, size in UNITS if value >= size), UNITS[-1])
        return f"{_digits(value / size)} {name}"
    return f"{_digits(value)} {unit}".rstrip()


def _digits(value):
    if float(value).is_integer():
        return f"{value:.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _value(row, name):
    figure = row["values"].get(name)
    return "" if figure is None else shown(figure["median"], row["unit"])


def _peer(row):
    return f"{row['peer']} {_value(row, row['peer'])}" if row["peer"] else ""


def _result(row):
    if row["result"] is None:
        return row["note"]
    return f"{row['result']['median']:.3f}" if row["unit"] else f"{row['result']['median']:g}"


def _spread(row):
    if row["result"] is None:
        return ""
    low, high = row["result"]["low"], row["result"]["high"]
    return f"{low:.3f} to {high:.3f}" if row["unit"] else f"{low:g} to {high:g}"


def _target(row):
    return "" if row["target"] is None else f"≤ {row['target']:g}"


def _met(row):
    return {True: "met", False: "missed", None: ""}[row["met"]]
