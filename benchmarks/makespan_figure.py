"""Pictures of twenty models on one cluster, from the results of makespan.py: `python -m benchmarks.makespan_figure`."""

import json
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.figures import RESULTS

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "images"
STEPS = {"validate+train+compare": "#0b6e99", "train+compare": "#7fb3c8", "compare": "#c2571a"}  # the jobs of an application
STOPPED = "#aaaaaa"
MINUTE = 60


def draw(results: dict, picture: Path) -> None:
    mpl.rcParams.update({"svg.hashsalt": "makespan", "font.size": 9, "font.family": "sans-serif", "svg.fonttype": "none"})
    figure, (jobs, use) = plt.subplots(2, 1, figsize=(8.5, 5.5), sharex=True, height_ratios=[3, 1])
    _draw_jobs(jobs, sorted(results["models"], key=lambda model: model["live"]))
    _draw_use(use, results["use"])
    figure.tight_layout()
    figure.savefig(picture, metadata={"Date": None})


def _draw_jobs(axes: Axes, models: list[dict]) -> None:
    for row, model in enumerate(models):
        axes.plot([0, model["live"] / MINUTE], [row, row], color="#dddddd", linewidth=1, zorder=1)
        for job in model["jobs"]:
            times = [job["begun"] / MINUTE, job["ended"] / MINUTE]
            color = STEPS[job["step"]] if job["state"] == "SUCCEEDED" else STOPPED
            axes.plot(times, [row, row], color=color, linewidth=4, solid_capstyle="butt")
        axes.plot(model["live"] / MINUTE, row, "o", color="#222222", markersize=3)
    for step, color in {**STEPS, "stopped": STOPPED}.items():
        axes.plot([], [], color=color, linewidth=4, label=step)
    axes.plot([], [], "o", color="#222222", markersize=3, label="live")
    axes.set_yticks([])
    axes.set_ylabel(f"{len(models)} models")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=5, frameon=False)


def _draw_use(axes: Axes, use: list[dict]) -> None:
    axes.fill_between(
        [sample["at"] / MINUTE for sample in use], [100 * sample["memory"] for sample in use], color="#0b6e99", alpha=0.3
    )
    axes.set_ylim(0, 100)
    axes.set_ylabel("memory in use, %")
    axes.set_xlabel("minutes since all were queued")


if __name__ == "__main__":
    for results in RESULTS.glob("makespan_*.json"):
        draw(json.loads(results.read_text()), PICTURES / f"{results.stem}.svg")
