"""The rules of Sudoku, written down a second time, so that the solver is not its own judge."""

BOX = {4: (2, 2), 6: (2, 3), 9: (3, 3)}  # rows and columns of a box
# the default, every number of blanks, 6x6, 9x9, and 9x9 that takes guessing
VARIANTS = [
    dict(size=4),
    dict(size=4, blanks=(1, 12)),
    dict(size=6),
    dict(size=9),
    dict(size=9, blanks=(48, 50), max_guesses=6),
]


def same_house(a, b, size):
    (row_a, column_a), (row_b, column_b) = divmod(a, size), divmod(b, size)
    high, wide = BOX[size]
    same_box = (row_a // high, column_a // wide) == (row_b // high, column_b // wide)
    return a != b and (row_a == row_b or column_a == column_b or same_box)


PEERS = {
    size: [[b for b in range(size**2) if same_house(a, b, size)] for a in range(size**2)]
    for size in BOX
}


def fitting(grid, cell, size):
    return sorted(set(range(1, size + 1)) - {grid[peer] for peer in PEERS[size][cell]})


def count_solutions(grid, size, limit):
    blanks = [cell for cell in range(size**2) if not grid[cell]]
    if not blanks:
        return 1
    cell = min(blanks, key=lambda blank: len(fitting(grid, blank, size)))
    count = 0
    for digit in fitting(grid, cell, size):
        count += count_solutions([*grid[:cell], digit, *grid[cell + 1 :]], size, limit - count)
        if count >= limit:
            break
    return count


def flat(rows):
    return [digit for row in rows for digit in row]
