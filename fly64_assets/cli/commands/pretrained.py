"""``fly64 infer`` and ``fly64 pretrain``: a network that is trained once, and used on new scans without training."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from fly64_assets.cli.console import Positive, fail, unusable
from fly64_assets.cli.file_options import force_option, refuse_to_replace, strict_option
from fly64_assets.cli.inputs import OBJECT, measured_dataset
from fly64_assets.contract.npz import write_npz
from fly64_assets.engines.execution import ACCELERATORS, Accelerator, torch_settings
from fly64_assets.store.atomic import write_atomically

accelerator_option = click.option(
    "--accelerator",
    type=click.Choice(ACCELERATORS),
    default="auto",
    show_default=True,
    help="auto takes a GPU where torch can use one.",
)


@click.command()
@click.argument("network")
@click.argument("data", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--slow-phases", is_flag=True, help="Add slowly varying phases where counts ask for them clearly.")
@accelerator_option
@click.option("--threads", type=click.IntRange(1), metavar="N", default=1, show_default=True, help="CPU threads.")
@strict_option
@force_option
def infer(
    network: str, data: Path, new: Path, slow_phases: bool, accelerator: str, threads: int, strict: bool, force: bool
) -> None:
    """Reconstruct a new scan by a network that was trained before.

    NETWORK is a file of `fly64 pretrain`, or the word general: the network in the package. DATA is a data set with
    counts, probe and positions; NEW is the file to write, with the object and its coverage. What of the scan lies
    outside of the network's training is said; far outside, nothing is written.

    \b
    Example:
      fly64 infer general scan.npz object.npz
    """
    from fly64_assets.pinn.pretrained.files import network_of
    from fly64_assets.pinn.pretrained.inference import reconstruct
    from fly64_assets.pinn.pretrained.pretrained_spec import Applicability, read_pretrained
    from fly64_assets.pinn.pretrained.settings import bundle_file
    from fly64_assets.pinn.unrolled.slow_phases import OF_PRETRAINED
    from fly64_assets.resources.gpu import GpuResource

    refuse_to_replace([new], force, data, bundle_file(network))
    began = time.perf_counter()
    bundle = read_pretrained(network)
    trained, ranges = network_of(bundle, network), Applicability.of(bundle, network)
    measurement = measured_dataset(data, "reconstruct").measurement()
    findings = list(ranges.findings(measurement))
    for sentence, _ in findings:
        click.echo(f"  ! {sentence}", err=True)
    if any(far for _, far in findings) or (strict and findings):
        fail(f"{data}: outside of what {network} was trained for; use another method, or train one: `fly64 pretrain`")
    execution = GpuResource(accelerator=Accelerator(accelerator), threads=threads).execution()
    with torch_settings(execution):
        found = reconstruct(trained, measurement, execution.accelerator, slow_phases=slow_phases)
    seconds = time.perf_counter() - began
    metadata = {
        "frames": found.frames,
        "network": bundle.params["network"],
        "gain_of_slow_phases": found.gain_of_slow_phases,
        "outside_of_training": [sentence for sentence, _ in findings],
        "seconds": round(seconds, 3),
    }
    arrays = {OBJECT: found.object, "coverage": found.coverage, "_metadata": np.array(json.dumps(metadata))}
    write_atomically(new, lambda file: write_npz(file, arrays))
    if found.gain_of_slow_phases is not None:
        click.echo(OF_PRETRAINED.verdict(found.gain_of_slow_phases))
    click.echo(f"{new}: {found.frames} frames in {seconds:.2f} s, from reading the files on")


@click.command()
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--seconds", type=Positive(), metavar="S", default=420.0, show_default=True, help="How long to train.")
@click.option(
    "--batch", type=click.IntRange(1, 1024), metavar="N", default=16, show_default=True, help="Scans per step."
)
@click.option(
    "--learning-rate", type=Positive(), metavar="RATE", default=1.5e-3, show_default=True, help="Its largest value."
)
@click.option(
    "--fields",
    type=click.IntRange(1),
    metavar="N",
    default=4000,
    show_default=True,
    help="Fields that objects consist of.",
)
@click.option(
    "--seed", type=click.IntRange(0), metavar="SEED", default=1, show_default=True, help="Of weights and scans."
)
@click.option(
    "--photons", type=Positive(), nargs=2, metavar="MIN MAX", help="Photons per frame [default: 200 1000000]."
)
@click.option("--area", type=Positive(), nargs=2, metavar="MIN MAX", help="Object pixels per frame [default: 60 3000].")
@click.option(
    "--probe", type=Positive(), nargs=2, metavar="MIN MAX", help="Diameter of the probe [px; default: 16 44]."
)
@click.option("--start", metavar="NETWORK", help="Go on from the weights of this network.")
@accelerator_option
@force_option
def pretrain(
    new: Path,
    seconds: float,
    batch: int,
    learning_rate: float,
    fields: int,
    seed: int,
    photons: tuple[float, float] | None,
    area: tuple[float, float] | None,
    probe: tuple[float, float] | None,
    start: str | None,
    accelerator: str,
    force: bool,
) -> None:
    """Train a network for new scans, on simulated scans of generated objects.

    NEW is the file to write, for `fly64 infer`. Some ten minutes on a GPU make a useful network; a CPU takes hours.

    \b
    Example:
      fly64 pretrain mine.zip --probe 20 30 --photons 1e3 1e5
    """
    from fly64_assets.engines.libraries import engine_libraries
    from fly64_assets.pinn.bundle import bundle_bytes
    from fly64_assets.pinn.pretrained.files import bundle_of, weights_of
    from fly64_assets.pinn.pretrained.pretrained_spec import PretrainedSpec, read_pretrained
    from fly64_assets.pinn.pretrained.scans import Family
    from fly64_assets.pinn.pretrained.settings import bundle_file
    from fly64_assets.pinn.pretrained.training import PretrainingSettings, train
    from fly64_assets.resources.gpu import GpuResource

    ranges: dict[str, Any] = {"photons_per_frame": photons, "area_per_frame": area, "probe_diameter": probe}
    for name, ends in ranges.items():
        if ends is not None and not ends[0] < ends[1]:
            fail(f"--{name.partition('_')[0]} {ends[0]:g} {ends[1]:g}: expected MIN < MAX", 2)
    refuse_to_replace([new], force, *((bundle_file(start),) if start else ()))
    if why := unusable(new):
        fail(why)  # before the training and not after it
    family = Family(**{name: ends for name, ends in ranges.items() if ends is not None})
    earlier = read_pretrained(start) if start else None
    spec = PretrainedSpec.of(earlier, start) if earlier and start else PretrainedSpec()
    settings = PretrainingSettings(seconds, batch, learning_rate, fields, seed)
    execution = GpuResource(accelerator=Accelerator(accelerator)).execution()
    weights = weights_of(earlier) if earlier else None
    trained = train(spec, settings, family, execution.accelerator, click.echo, weights)
    device = engine_libraries().get("gpu", execution.accelerator)
    bundle = bundle_of(trained, spec, settings, family, device, earlier)
    content = bundle_bytes(bundle)
    write_atomically(new, lambda file: file.write(content))
    click.echo(f"{new}: trained for {trained.steps} steps")
