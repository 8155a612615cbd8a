"""The loss plot of a run."""

import os


def plot_log(events, path):
    """Draws training and validation loss from log events into a PNG, replaced as a whole."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    train = [(e["step"], e["loss"]) for e in events if e["event"] == "train"]
    held_out = [(e["step"], e["val_loss"]) for e in events if e["event"] == "eval"]
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if train:
        steps, losses = zip(*train)
        axes.plot(steps, losses, color="#9bb8d3", linewidth=0.7, label="training batch")
        axes.plot(
            steps, _smooth(losses), color="#1f4e79", linewidth=1.5, label="training, smoothed"
        )
    if held_out:
        axes.plot(*zip(*held_out), "o-", color="#c0504d", markersize=4, label="validation")
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    axes.legend()
    temporary = f"{path}.tmp"
    figure.savefig(temporary, format="png")
    os.replace(temporary, path)


def _smooth(values, keep=0.98):
    """Exponential average without the pull of its start value."""
    average, weight, out = 0.0, 0.0, []
    for value in values:
        average = keep * average + (1 - keep) * value
        weight = keep * weight + (1 - keep)
        out.append(average / weight)
    return out
