"""SVG charts: lines of challenger and reference version, and intervals with the gate's required value."""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

WIDTH, HEIGHT, EDGE = 300, 240, 34
STRIP_WIDTH, STRIP_HEIGHT = 320, 26
COLOURS = ("#0b6e99", "#c2571a")  # challenger, reference version
Points = Sequence[tuple[float, float]]


class Line(NamedTuple):
    name: str
    points: Points


def chart(title: str, across: str, up: str, lines: Sequence[Line], diagonal: bool = False) -> Markup:
    """Up to two lines on one pair of axes, which run from 0 to 1 with `diagonal`, else over the data's range."""
    xs, ys = ([point[axis] for line in lines for point in line.points] for axis in (0, 1))
    left, right = (0.0, 1.0) if diagonal else (min(xs), max(xs))
    top = 1.0 if diagonal else max(ys) or 1.0
    scale = _Scale(left, right, 0.0, top)
    drawn = [_polyline(line.points, scale, colour) for line, colour in zip(lines, COLOURS, strict=False)]
    guide = _polyline([(0, 0), (1, 1)], scale, "#bbb", 1) if diagonal else ""
    return Markup(  # noqa: S704  (numbers and constant text only)
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">{_axes(scale, across, up)}{guide}'
        f"{''.join(drawn)}</svg><figcaption>{title}</figcaption></figure>"
    )


def strip(low: float, value: float, high: float, bar: float | None, reach: tuple[float, float]) -> Markup:
    """An interval with its point estimate, a thin line at zero, and a dashed one at `bar`, the least allowed lower end."""
    left, right = reach
    span = (right - left) or 1.0

    def at(number: float) -> float:
        return 6 + (STRIP_WIDTH - 12) * (number - left) / span

    middle = STRIP_HEIGHT / 2
    zero = f'<line x1="{at(0):.1f}" x2="{at(0):.1f}" y1="2" y2="{STRIP_HEIGHT - 2}" stroke="#999"/>' if left <= 0 <= right else ""
    bar_line = "" if bar is None else _dashed(at(bar))
    return Markup(  # noqa: S704
        f'<svg class="strip" viewBox="0 0 {STRIP_WIDTH} {STRIP_HEIGHT}">{zero}{bar_line}'
        f'<line x1="{at(low):.1f}" x2="{at(high):.1f}" y1="{middle}" y2="{middle}" stroke="{COLOURS[0]}" stroke-width="3"/>'
        f'<circle cx="{at(value):.1f}" cy="{middle}" r="4.5" fill="{COLOURS[0]}"/></svg>'
    )


class _Scale(NamedTuple):
    left: float
    right: float
    bottom: float
    top: float

    def __call__(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.left) / ((self.right - self.left) or 1.0)
        up = (y - self.bottom) / ((self.top - self.bottom) or 1.0)
        return EDGE + across * (WIDTH - EDGE - 8), HEIGHT - EDGE - up * (HEIGHT - EDGE - 10)


def _polyline(points: Points, scale: _Scale, colour: str, width: float = 2) -> str:
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in (scale(*point) for point in points))
    return f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _dashed(x: float) -> str:
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="1" y2="{STRIP_HEIGHT - 1}" stroke="#b00" stroke-width="1.5" stroke-dasharray="3 2"/>'
    )


def _axes(scale: _Scale, across: str, up: str) -> str:
    (left, bottom), (right, top) = scale(scale.left, scale.bottom), scale(scale.right, scale.top)
    frame = f'<path d="M{left:.0f} {top:.0f} V{bottom:.0f} H{right:.0f}" fill="none" stroke="#666"/>'
    marks = [
        (left, bottom + 12, "start", f"{scale.left:.3g}"),
        (right, bottom + 12, "end", f"{scale.right:.3g}"),
        (left - 3, top + 8, "end", f"{scale.top:.3g}"),
        ((left + right) / 2, bottom + 26, "middle", across),
    ]
    texts = [f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{text}</text>' for x, y, anchor, text in marks]
    turned = f'<text transform="translate(10 {(top + bottom) / 2:.0f}) rotate(-90)" text-anchor="middle">{up}</text>'
    return f"{frame}{''.join(texts)}{turned}"
