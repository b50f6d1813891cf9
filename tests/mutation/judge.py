"""Judge what mutmut has found: enough mutants are killed, and each one that is not is explained in survivors.txt.

There, a line that begins with "#" is the reason for the mutants below it; a mutant is a line with its function, and the
lines that the mutation took and gave, as "mutmut show" prints them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

#: The share of all mutants that the tests must notice.
WANTED = 0.95

EXPLAINED = os.path.join(os.path.dirname(__file__), "survivors.txt")

#: What mutmut says of a mutant that something noticed; one that never ends is noticed by whoever waits.
NOTICED = {"killed", "timeout", "segfault", "caught by type check"}


def main():
    found = dict(re.findall(r"^\s*(\S+): (.+)$", mutmut("results", "--all", "True"), re.MULTILINE))
    left = {name: change(name) for name, status in found.items() if status not in NOTICED}
    reasons = explanations()
    unexplained = {name: lines for name, lines in left.items() if lines not in reasons}
    for name, lines in unexplained.items():
        print(f"\n{found[name]}, and not explained: {name}", *lines, sep="\n")
    for lines in set(reasons) - set(left.values()):
        print("\nexplained, and killed now:", *lines, sep="\n")
    killed = len(found) - len(left)
    share = killed / len(found) if found else 0.0
    print(f"\n{killed} of {len(found)} mutants killed ({share:.1%}), {len(left) - len(unexplained)} others explained")
    return int(bool(unexplained) or share < WANTED)


def mutmut(*arguments):
    command = [os.path.join(os.path.dirname(sys.executable), "mutmut"), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def change(name):
    """What a mutation is known by, whatever its number: the function, and the lines before and after."""
    lines = [line for line in mutmut("show", name).splitlines() if re.match(r"[-+](?![-+]{2})", line)]
    return function(name), *(f"{line[0]} {line[1:].strip()}" for line in lines)


def function(name):
    """The name of the mutated function, as people write it."""
    module, _, mangled = name.removeprefix("aritma_session.").rpartition(".")
    mangled = re.sub(r"__mutmut_\d+$", "", mangled)
    return f"{module}.{mangled.removeprefix('x').strip('ǁ').replace('ǁ', '.') if 'ǁ' in mangled else mangled[2:]}"


def explanations():
    """Each explained mutant with its reason."""
    reasons, reason, mutant = {}, "", []
    with open(EXPLAINED, encoding="utf-8") as file:
        for line in [*map(str.rstrip, file), ""]:
            if mutant and not line.startswith(("-", "+")):
                reasons[tuple(mutant)], mutant = reason, []
            if line.startswith("#"):
                reason = line.removeprefix("#").strip()
            elif line:
                mutant.append(line)
    return reasons


if __name__ == "__main__":
    sys.exit(main())
