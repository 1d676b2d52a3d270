"""Small pictures as SVG text: lines and histograms of two sides, and intervals beside what was asked of them."""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

WIDTH, HEIGHT, EDGE = 300, 240, 34
STRIP_WIDTH, STRIP_HEIGHT = 320, 26
COLOURS = ("#0b6e99", "#c2571a")  # challenger, opponent
Points = Sequence[tuple[float, float]]


class Line(NamedTuple):
    name: str
    points: Points


def chart(title: str, across: str, up: str, lines: Sequence[Line], diagonal: bool = False) -> Markup:
    """Up to two lines on one pair of axes; from 0 to 1 where `diagonal` is drawn, else as far as they reach."""
    xs, ys = ([point[axis] for line in lines for point in line.points] for axis in (0, 1))
    left, right = (0.0, 1.0) if diagonal else (min(xs), max(xs))
    top = 1.0 if diagonal else max(ys) or 1.0
    place = _Place(left, right, 0.0, top)
    drawn = [_polyline(line.points, place, colour) for line, colour in zip(lines, COLOURS, strict=False)]
    guide = _polyline([(0, 0), (1, 1)], place, "#bbb", 1) if diagonal else ""
    return Markup(  # noqa: S704  (numbers, and this module's own words)
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">{_axes(place, across, up)}{guide}'
        f"{''.join(drawn)}</svg><figcaption>{title}</figcaption></figure>"
    )


def strip(low: float, value: float, high: float, bar: float | None, reach: tuple[float, float]) -> Markup:
    """An interval with its middle, zero as a thin line, and the bar that its lower end must clear as a dashed one."""
    left, right = reach
    span = (right - left) or 1.0

    def at(number: float) -> float:
        return 6 + (STRIP_WIDTH - 12) * (number - left) / span

    middle = STRIP_HEIGHT / 2
    zero = f'<line x1="{at(0):.1f}" x2="{at(0):.1f}" y1="2" y2="{STRIP_HEIGHT - 2}" stroke="#999"/>' if left <= 0 <= right else ""
    asked = "" if bar is None else _dashed(at(bar))
    return Markup(  # noqa: S704
        f'<svg class="strip" viewBox="0 0 {STRIP_WIDTH} {STRIP_HEIGHT}">{zero}{asked}'
        f'<line x1="{at(low):.1f}" x2="{at(high):.1f}" y1="{middle}" y2="{middle}" stroke="{COLOURS[0]}" stroke-width="3"/>'
        f'<circle cx="{at(value):.1f}" cy="{middle}" r="4.5" fill="{COLOURS[0]}"/></svg>'
    )


class _Place(NamedTuple):
    left: float
    right: float
    bottom: float
    top: float

    def __call__(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.left) / ((self.right - self.left) or 1.0)
        up = (y - self.bottom) / ((self.top - self.bottom) or 1.0)
        return EDGE + across * (WIDTH - EDGE - 8), HEIGHT - EDGE - up * (HEIGHT - EDGE - 10)


def _polyline(points: Points, place: _Place, colour: str, width: float = 2) -> str:
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
    return f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _dashed(x: float) -> str:
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="1" y2="{STRIP_HEIGHT - 1}" stroke="#b00" stroke-width="1.5" stroke-dasharray="3 2"/>'
    )


def _axes(place: _Place, across: str, up: str) -> str:
    (left, bottom), (right, top) = place(place.left, place.bottom), place(place.right, place.top)
    frame = f'<path d="M{left:.0f} {top:.0f} V{bottom:.0f} H{right:.0f}" fill="none" stroke="#666"/>'
    marks = [
        (left, bottom + 12, "start", f"{place.left:.3g}"),
        (right, bottom + 12, "end", f"{place.right:.3g}"),
        (left - 3, top + 8, "end", f"{place.top:.3g}"),
        ((left + right) / 2, bottom + 26, "middle", across),
    ]
    texts = [f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{text}</text>' for x, y, anchor, text in marks]
    turned = f'<text transform="translate(10 {(top + bottom) / 2:.0f}) rotate(-90)" text-anchor="middle">{up}</text>'
    return f"{frame}{''.join(texts)}{turned}"
