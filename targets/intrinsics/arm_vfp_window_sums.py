"""The sum of the nine products of a 3x3 window of floats, rows of the output side by side."""

Sums = tuple[list[str], list[str]]  # registers of the results, instructions


def window_sums(rows: int, columns: list[list[str]], free: list[str]) -> Sums:
    """Products and sums take turns, so that none waits for the one before."""
    accs, products = free[:rows], free[rows : rows + 2]
    lines: list[str] = []
    waiting: list[str] = []
    for tap in range(9):
        column, i = divmod(tap, 3)
        for row, acc in enumerate(accs):
            product = products[(tap * rows + row) % 2]
            lines.append(f"vmul.f32 {product}, {columns[column][i + row]}, s{3 * i + column}")
            lines += waiting
            waiting = [f"vadd.f32 {acc}, {'s9' if tap == 0 else acc}, {product}"]
    return accs, lines + waiting


def fused_window_sums(rows: int, columns: list[list[str]], free: list[str]) -> Sums:
    """A chain of sums for every row of the window, joined at the end."""
    accs = [free[3 * row : 3 * row + 3] for row in range(rows)]
    lines = [f"vmov.f32 {chains[0]}, s9" for chains in accs]
    for tap in range(9):
        column, i = divmod(tap, 3)
        for row, chains in enumerate(accs):
            name = "vmul" if column == 0 and i > 0 else "vfma"
            lines.append(f"{name}.f32 {chains[i]}, {columns[column][i + row]}, s{3 * i + column}")
    for other in (1, 2):
        lines += [f"vadd.f32 {c[0]}, {c[0]}, {c[other]}" for c in accs]
    return [chains[0] for chains in accs], lines
