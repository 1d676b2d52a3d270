"""The simulated error rates as the README's table and picture, from the results of gate_errors.py.

`python -m benchmarks.gate_figure` in Spark's environment; rewrites both.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.gate_errors import BLOCKS, OUT
from benchmarks.gate_worlds import WORLDS

ROOT = Path(__file__).resolve().parents[1]
README, PICTURE = ROOT / "README.md", ROOT / "docs" / "images" / "gate-errors.svg"
BEGIN, END = "<!-- gate errors: made by benchmarks/gate_figure.py -->", "<!-- end of gate errors -->"
DECIDERS = {
    "gate": ("this gate", "#0b6e99"),
    "bootstrap": ("percentile bootstrap of blocks", "#c2571a"),
    "rowwise": ("t test of rows", "#a33333"),
    "at_least": (">=", "#888888"),
}


def cells_of(results: dict, world: str, blocks: int) -> list[dict]:
    """The results of all metrics and both rules."""
    return [cell for cell in results["cells"] if (cell["world"], cell["blocks"]) == (world, blocks)]


def table(results: dict) -> Iterator[str]:
    yield f"| blocks | this gate (worst of {2 * 3}; upper bound) | bootstrap | t test of rows | `>=` | power of the gate |"
    yield "|---|---|---|---|---|---|"
    for world in WORLDS:
        for blocks in BLOCKS:
            cells = cells_of(results, world.name, blocks)
            worst = max(cells, key=lambda cell: cell["false"]["gate_upper"])["false"]
            others = " | ".join(_span([cell["false"][name] for cell in cells]) for name in list(DECIDERS)[1:])
            bound = "" if world.bounded else ", no bound promised"
            gate = f"{worst['gate']:.1f} % (≤ {worst['gate_upper']:.1f})"
            yield f"| {blocks}, {world.name}{bound} | {gate} | {others} | {_span([cell['power'] for cell in cells])} |"


def _span(shares: list[float]) -> str:
    low, high = (f"{share:.0f}" for share in (min(shares), max(shares)))
    return f"{low} %" if low == high else f"{low}–{high} %"


def draw(results: dict) -> None:
    mpl.rcParams.update({"svg.hashsalt": "gate", "font.size": 9, "font.family": "sans-serif", "svg.fonttype": "none"})
    figure, axes = plt.subplots(figsize=(8.5, 5))
    groups = [(world, blocks) for world in WORLDS for blocks in BLOCKS]
    for row, (world, blocks) in enumerate(groups):
        _draw_line(axes, row, cells_of(results, world.name, blocks))
    axes.set_yticks(range(len(groups)), [f"{world.name}, {blocks} blocks" for world, blocks in groups])
    axes.invert_yaxis()
    axes.axvline(5, color="#222222", linewidth=0.8, linestyle="--")
    axes.set_xlim(0, 60)
    axes.set_xlabel("promoted although truly at the boundary, in % of pairs (dashed: 5 %)")
    axes.grid(axis="y", color="#eeeeee")
    axes.set_axisbelow(True)
    for name, color in DECIDERS.values():
        axes.plot([], [], "o", color=color, markersize=4, label=name)
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, 1.09), ncols=4, frameon=False)
    figure.tight_layout()
    figure.savefig(PICTURE, metadata={"Date": None})


def _draw_line(axes: Axes, row: int, cells: list[dict]) -> None:
    for name, (_, color) in DECIDERS.items():
        shares = [cell["false"][name] for cell in cells]
        axes.plot(shares, [row] * len(shares), "o", color=color, markersize=3.5, alpha=0.7)


def main() -> None:
    results = json.loads(OUT.read_text())
    draw(results)
    before, _, rest = README.read_text().partition(BEGIN)
    README.write_text("\n".join([before + BEGIN, "", *table(results), "", END + rest.partition(END)[2]]))


if __name__ == "__main__":
    main()
