"""What the longest chain of thought about a chart adds: readings checked, arithmetic by digits."""

from __future__ import annotations

from percbal.tasks.chart_aloud import Aloud, Row

DIGITS = 3  # of a quotient behind its point; the last one rounds


def check_readings(aloud: Aloud, values: list[Row], ticks: range) -> None:
    """Every value from the tick below it and the one above, and against its left neighbour."""
    before = None
    for label, number in values:
        count, over = divmod(number, ticks.step)
        aloud.say(3, "look", label=label, number=number, count=count)
        aloud.step(count, "*", ticks.step, number - over)
        if over:
            aloud.step(number - over, "+", over, number)
        above = number - over + ticks.step
        if over and above in ticks:
            aloud.say(3, "next", number=above)
            aloud.step(above, "-", above - number, number)
        if before is not None:
            aloud.say(3, "beside", label=before[0], number=before[1])
            high, low = max(number, before[1]), min(number, before[1])
            aloud.step(high, "-", low, high - low)
        before = label, number


def in_order(aloud: Aloud, values: list[Row]) -> list[Row]:
    """The rows from the smallest value to the largest, put in one by one."""
    order: list[Row] = []
    for label, number in values:
        aloud.say(3, "take", label=label, number=number)
        place = len(order)
        while place and not _larger(aloud, number, order[place - 1][1]):
            place -= 1
        order.insert(place, (label, number))
        aloud.rows(3, "order", order)
    return order


def _larger(aloud: Aloud, number: int, other: int) -> bool:
    aloud.step(number, ">", other, "yes" if number > other else "no")
    return number > other


def split(aloud: Aloud, left: int, sign: str, right: int) -> None:
    """Add or take away the tens, then the ones, where a number has both."""
    tens, ones = right - right % 10, right % 10
    if tens and ones:
        way = 1 if sign == "+" else -1
        aloud.step(left, sign, tens, left + way * tens, at=3)
        aloud.step(left + way * tens, sign, ones, left + way * right, at=3)


def divide(aloud: Aloud, first: int, second: int) -> None:
    """Long division, to one digit more than the answer has."""
    rest = first
    for place in range(DIGITS + 1):
        if place:
            aloud.step(rest, "*", 10, rest * 10, at=3)
            rest *= 10
        digit = rest // second
        aloud.step(digit, "*", second, digit * second, at=3)
        aloud.step(rest, "-", digit * second, rest % second, at=3)
        rest %= second
        if place == DIGITS:
            aloud.say(3, "round", number=digit)
        if rest == 0:
            return
