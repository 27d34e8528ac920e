"""The words of the reports and what they mean."""

from typing import Final

GLOSSARY: Final = {
    "frame": "One diffraction pattern of N × N pixels.",
    "view": "The scan, or a part of it: baseline keeps all positions, the others those with a least distance.",
    "cell": "One dose and one view: what every method reconstructs.",
    "method": "A way to recover the object from the frames: pinn is a physics-informed network, lsqml an iterative "
    "least-squares maximum-likelihood solver, tv_ml maximum likelihood with total variation, pretrained a network that "
    "was trained once, on simulated scans of other objects.",
    "half": "The scan is cut in two: networks learn on the train half, and all methods are judged on the test half.",
    "probe overlap": "Of the discs that hold half of the probe's energy. Linear: 1 - distance / diameter to the "
    "nearest frame; where the discs do not touch, the gap between them in diameters. Area: share of a disc in common "
    "with its six nearest.",
    "uniform object": "An object with the same value on every pixel: the baseline that every method has to beat.",
    "resolution": "Full period [px] at which the Fourier ring correlation falls below the half-bit threshold.",
}
"""Words of all reports; each is a link to its meaning, which is its tooltip too."""

GLOSSARY_OF_TRUTH: Final = {
    "phase error": "Root mean square difference of the phase to the true object [rad], after a global phase, scale and "
    "shift are removed.",
    "evaluation region": "Pixels that the half illuminates well enough, and, in the test half, that no training frame "
    "illuminated.",
    "efficiency": "Cramér–Rao bound over mean squared error. Below 1: an error above the bound. Above 1: a prior or "
    "regularisation dominates, and the bound, which is for unbiased estimates, does not apply. No figure of merit.",
    "photon floor": "1 / (2 √n) rad: no measurement with n photons through a pixel determines its phase better "
    "without prior information.",
}
"""Words of reports with a true object."""
