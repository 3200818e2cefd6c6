"""Tables of figures as the benchmarks print them, and the last one: what must be reached, and what was."""

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
