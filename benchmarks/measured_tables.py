"""Tables of judgements without a truth (how they rank beside one, what they say of measured frames), and of a GPU."""

import statistics

from table_rows import EFFICIENT, MISSING, TITLES, Contest, Row, one, rows_of, table


def judge(_contest: Contest) -> str:
    """Rank correlation of the likelihood of fresh counts with the phase error, by object and kind of candidates."""
    groups: dict[tuple[str, str], dict[str, list[Row]]] = {}
    for row in rows_of("judge.csv"):
        groups.setdefault((row["object"], row["candidates"]), {}).setdefault(row["background"], []).append(row)
    rows = []
    for (name, kind), by_background in groups.items():
        line = [name, kind, str(len(by_background["fresh"]))]
        for found in (by_background[background] for background in ("fresh", "none", "seen")):
            ranks, local, losses = ([float(row[c]) for row in found] for c in ("spearman", "spearman_local", "loss"))
            line.append(
                f"{statistics.mean(ranks):.2f} ({min(ranks):.2f}), {statistics.mean(local):.2f}, "
                f"{statistics.mean(losses):.1%}"
            )
        rows.append(line)
    text = "{}: mean (least), local, loss"
    return table(
        ["object", "candidates", "cells", *map(text.format, ("the judge", "no background", "of the seen counts"))], rows
    )


def null(_contest: Contest) -> str:
    """How often equally good objects are called different, by view and width of their errors."""
    rows = [
        [
            row["view"], row["frames"], row["areas"], f"{float(row['width_px']):g}", row["independent_frames"],
            f"{float(row['alarms_of_frames']):.0%}", f"{float(row['alarms']):.0%}",
        ]
        for row in rows_of("judge_null.csv")
    ]  # fmt: skip
    return table(
        [
            "view", "frames", "independent areas", "width of the errors [px]", "independent frames",
            "every frame for itself", "the test",
        ],
        rows,
    )  # fmt: skip


LARGE = 100
GPU_PARTS = {
    "gpu_lsqml_epoch": ("an epoch of `lsqml`", "pty-chi's own minibatches"),
    "gpu_likelihood_step": ("a step of the likelihood, as in `tv_ml` and `pinn`", "its two transforms of each frame"),
    "gpu_pretrained": ("`pretrained`: reconstruction, stitched", ""),
    "gpu_training": ("`pinn`: training, its likelihood included", ""),
    "gpu_stitched": ("`pinn`: reconstruction, its likelihood included, stitched", ""),
}


def gpu(_contest: Contest) -> str:
    """What the parts of the engines cost on a GPU, by side of the frames."""
    rows = []
    for row in rows_of("gpu.csv"):
        name, _, side = row["name"].rpartition("_")
        part, other = GPU_PARTS[name]
        value = float(row["value"])
        known = f"{float(row['floor_or_peer']):,.3g} {row['unit']}: {other}" if other else MISSING
        rows.append(
            [
                part,
                side,
                f"{int(row['frames']):,}",
                f"{value:{',.0f' if value > LARGE else '.3g'}} {row['unit']}",
                known,
                row["machine"],
            ]
        )
    return table(["what", "side of a frame [px]", "frames", "measured", "for comparison", "GPU"], rows)


def star_cells() -> dict[tuple[str, str], dict[tuple[str, str], Row]]:
    """Rows of siemens_star.csv by cell, and by method and score."""
    found: dict[tuple[str, str], dict[tuple[str, str], Row]] = {}
    for row in rows_of("siemens_star.csv"):
        cell = found.setdefault((row["dose"], row["view"]), {})
        cell[row["arm"], f"{row['part']} {row['metric']}"] = row
    return found


def star(_contest: Contest) -> str:
    """Measured frames: how much worse than the reference each method predicts the counts kept aside."""
    rows = []
    for (dose, view), scores in star_cells().items():
        entries = []
        for method in (*EFFICIENT, "flat"):
            values = {
                name: float(scores[method, f"counts {name}"]["value"] or "nan")
                for name in ("complement", "complement_error", "complement_relative")
            }
            nats, error, relative = values.values()
            entries.append(f"{nats:,.0f} ± {error:,.0f}" + ("" if method == "flat" else f" ({relative:.3f})"))
        rows.append([f"{int(dose):,}", view, next(iter(scores.values()))["frames"], *entries])
    names = [*(TITLES[method] for method in EFFICIENT), TITLES["uniform"]]
    return table(["photons / frame", "view", "frames", *names], rows)


def star_resolution(_contest: Contest) -> str:
    """Measured frames: what two reconstructions from halves have in common, and the distance to the reference."""
    rows = []
    for (dose, view), scores in star_cells().items():
        entries = []
        for method in EFFICIENT:
            found = [
                scores[method, f"{part} {metric}"]["value"]
                for part, metric in (
                    ("complex", "frc_photons_half_bit"), ("complex", "frc_frames_half_bit"),
                    ("phase", "rmse_to_reference"),
                )
            ]  # fmt: skip
            photons, frames, distance = (one(float(value) if value else None, ".2f") for value in found)
            entries.append(f"{photons} / {frames} / {distance}")
        rows.append([f"{int(dose):,}", view, *entries])
    return table(["photons / frame", "view", *(TITLES[method] for method in EFFICIENT)], rows)
