"""Tables of figures as the benchmarks print them, and the last one: what must be reached, and what was."""

import subprocess, sys

# What is to be reached, with what was: work, figure, limit.
SUMMARY = []


def line(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def head(*cells):
    line(*cells)
    print("|---|" + "--:|" * (len(cells) - 1), flush=True)


def note(work, figure, limit, is_least=False, unit="", digits=2):
    reached = figure >= limit if is_least else figure <= limit
    SUMMARY.append((work, f"{figure:.{digits}f}{unit}", f"{'≥' if is_least else '≤'} {limit:g}{unit}", "yes" if reached else "no"))


def run_parts(parts, run, errors):
    """Runs each part and prints what was reached; ends with an error where a part is not measured as a whole because of one of `errors`."""
    failed = []
    for part in parts:
        print(flush=True)
        try:
            run(part)
        except (*errors, subprocess.CalledProcessError) as error:
            print(f"{part}: {error}", file=sys.stderr)
            failed.append(part)
    print()
    head("work", "reached", "must reach", "")
    for row in SUMMARY:
        line(*row)
    if failed:
        sys.exit(f"not measured as a whole: {', '.join(failed)}")
