"""Draws the growth curves as SVG. Needs matplotlib (scripts/setup bench)."""
import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "longhaul", "font.size": 9, "axes.grid": True,
                            "grid.alpha": 0.3, "axes.spines.top": False, "axes.spines.right": False})
from matplotlib import pyplot  # noqa: E402

# Picture -> panels of (title, unit, {name of the curve: key}).
PICTURES = {
    "growth-throughput": [("creates, 64 connections", "tasks/s", {"at this size": "creates_per_s",
                                                                   "empty store, in turns": "creates_empty_per_s"}),
                          ("status_task of 10 ids, 64 connections", "requests/s", {"": "status_per_s"})],
    "growth-latency": [("list of tasks, worst p99 of all filters", "ms", {"first page": "list_first_p99_ms",
                                                                          "page 100 000, or the middle": "list_deep_p99_ms"}),
                       ("API start until ready", "ms", {"": "start_s"})],
    "growth-size": [("API resident memory", "MB", {"after start": "start_mb", "after the measurements": "mb"}),
                    ("on disk", "bytes/task", {"": "bytes_per_task"})],
}
SCALES = {"start_s": 1000}


def draw_panel(axes, lines, title, unit, curves):
    for name, key in curves.items():
        points = [(line["tasks"], line[key] * SCALES.get(key, 1)) for line in lines if line.get(key) is not None]
        axes.plot([at for at, _ in points], [value for _, value in points], marker="o", markersize=4, label=name)
    axes.set(title=title, xlabel="tasks stored", ylabel=unit, xscale="log")
    axes.set_ylim(0, axes.get_ylim()[1] * 1.15)
    if any(curves):
        axes.legend(frameon=False)


def draw(lines, folder):
    """The names of the files that were written."""
    files = []
    for name, panels in PICTURES.items():
        figure, axes = pyplot.subplots(1, len(panels), figsize=(9, 3), layout="constrained")
        for at, panel in zip(axes, panels):
            draw_panel(at, lines, *panel)
        files.append(folder / f"{name}.svg")
        figure.savefig(files[-1], metadata={"Date": None})
        pyplot.close(figure)
    return files
