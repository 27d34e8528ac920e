"""The DATA-001 validator: which rules apply to what; pure functions from arrays to a report that holds every finding.

The rules are in ``structure``, ``values`` and ``documents``. Bad data raise no exception here; they make findings.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract import documents, masks, schema, structure, values
from fly64_assets.contract.evidence import Evidence
from fly64_assets.contract.findings import ContractReport, Expectations, Finding, error, information, warning
from fly64_assets.contract.frame_findings import detector_findings
from fly64_assets.contract.frames import REAL_KINDS, find_frames, squeezed
from fly64_assets.contract.metadata import base_sha256, finite_number, has_stand_in_object, positive_parameter
from fly64_assets.contract.orientation import orientation_findings
from fly64_assets.contract.probe_findings import probe_findings
from fly64_assets.contract.scan_findings import object_findings, scan_findings
from fly64_assets.contract.schema import Arrays
from fly64_assets.contract.statistics import frame_statistics
from fly64_assets.physics.scan import SPLITS

SPLIT: Final = "DATA-001.split"


@np.errstate(all="ignore")
def validate(arrays: Arrays, *, expected: Expectations | None = None) -> ContractReport:
    """Judge the arrays of a data set by DATA-001.

    Parameters
    ----------
    arrays : mapping of str to array
        Everything in the file, memory-mapped or not; frames are read in blocks.
    expected : Expectations, optional
        Frame size, doses, views, K and g of a study, and whether it needs patches; judged only where given.

    Returns
    -------
    ContractReport
        All findings. No content of the arrays raises an exception.

    Examples
    --------
    >>> report = validate({"xcoords": np.arange(3.0)})
    >>> report.ok, report.errors[0].message
    (False, 'missing diffraction, objectGuess, probeGuess, ycoords; found xcoords')
    """
    plain, findings = _plain(arrays)
    document, unreadable = documents.read_metadata(plain)
    scale = positive_parameter(document, "intensity_scale")
    frames = find_frames(plain)
    findings += _structure(plain, expected)
    findings += masks.mask_findings(plain)
    findings += unreadable
    if document is not None:
        findings += documents.metadata_findings(document, frames, expected)
        findings += documents.oversampling_findings(document, frames, expected)
    statistics = None
    if frames is not None:
        statistics = frame_statistics(frames, scale, masks.usable_mask(plain, frames))
        findings += values.amplitude_findings(frames, statistics, scale)
        centre = list(values.centre_findings(plain, frames, statistics))
        findings += centre
        if scale is not None:
            mean = positive_parameter(document, "expected_mean_counts")
            read_noise = positive_parameter(document, "read_noise_counts") or 0.0
            findings += values.counts_findings(frames, statistics, scale, mean, read_noise)
        history = None if document is None else document.get("data_transformations")
        findings += masks.convention_findings(plain, frames.values.shape[1:])
        known = schema.OBJECT in plain and not has_stand_in_object(document)
        saturation = positive_parameter(document, "saturation_counts")
        evidence = Evidence(plain, frames, statistics, scale, object_known=known, saturation=saturation)
        centred = not any(finding.severity == "error" for finding in centre)
        findings += detector_findings(evidence, history, centred=centred)
        findings += orientation_findings(evidence) if centred else ()
        findings += probe_findings(evidence)
    findings += values.probe_centre_findings(plain)
    findings += values.modes_findings(plain)
    findings += values.dark_findings(plain, (schema.PROBE,))
    findings += values.finite_findings(plain, frames, statistics)
    size = structure.patch_size(plain, frames)
    findings += values.coordinate_findings(plain, size)
    findings += scan_findings(plain, size, measured=has_stand_in_object(document))
    findings += object_findings(plain)
    if document is not None:
        findings += documents.dose_findings(document, plain, None if statistics is None else statistics.mean_counts)
    return ContractReport(tuple(findings))


def validate_structure(arrays: Arrays) -> ContractReport:
    """The rules of :func:`validate` that read no values besides ``_metadata``: whether arrays can be used at all."""
    plain, findings = _plain(arrays)
    _, unreadable = documents.read_metadata(plain)
    return ContractReport((*findings, *_structure(plain, None), *unreadable))


@np.errstate(all="ignore")
def validate_base(arrays: Arrays, *, patch_size: int | None = None) -> ContractReport:
    """Judge the arrays of a base file: object, probe and positions; frames are not needed.

    Another precision and axes of length 1 are information, because the import converts them. So is what is wrong with
    frames that are there, because a study simulates its own.

    Parameters
    ----------
    arrays : mapping of str to array
    patch_size : int, optional
        The N of the design [px]; without it N is the probe's side.
    """
    plain, findings = _plain(arrays)
    base: Arrays = {key: plain[key] for key in schema.BASE_KEYS if key in plain}
    findings += structure.missing_findings(plain, schema.BASE_KEYS)
    findings += structure.dtype_findings(base, imported=True)
    findings += structure.axes_findings(base, imported=True)
    findings += _idle_frames_findings(plain)
    reduced: Arrays = {key: squeezed(array, schema.axes_of(key, array)) for key, array in base.items()}
    size = structure.patch_size(reduced, None) if patch_size is None else patch_size
    findings += structure.size_findings(reduced, size, structure.LEAST_BASE_MARGIN_PX)
    findings += structure.length_findings(reduced, None)
    findings += values.probe_centre_findings(reduced)
    findings += values.modes_findings(reduced)
    findings += values.finite_findings(reduced, None, None)
    findings += values.coordinate_findings(reduced, size)
    findings += values.distinct_findings(reduced)
    findings += scan_findings(reduced, size, simulated=True)
    findings += object_findings(reduced)
    findings += values.dark_findings(reduced, (schema.OBJECT, schema.PROBE))
    obj = reduced.get(schema.OBJECT)
    if obj is not None and obj.dtype.kind in "fc" and obj.any() and (obj == obj.flat[0]).all():
        findings.append(warning(values.AMPLITUDE, f"{schema.OBJECT} is the same everywhere: there is nothing to see"))
    if schema.METADATA in plain:
        document, unreadable = documents.read_metadata(plain)
        findings += unreadable
        findings += [] if document is None else documents.form_findings(document)
    return ContractReport(tuple(findings))


def validate_base_structure(arrays: Arrays) -> ContractReport:
    """Whether the arrays are a canonical base, by headers alone."""
    plain, findings = _plain(arrays)
    base: Arrays = {key: plain[key] for key in schema.BASE_KEYS if key in plain}
    findings += structure.missing_findings(plain, schema.BASE_KEYS)
    findings += structure.dtype_findings(base)
    findings += structure.axes_findings(base)
    findings += structure.size_findings(base, structure.patch_size(base, None), structure.LEAST_BASE_MARGIN_PX)
    findings += structure.length_findings(base, None)
    if schema.METADATA in plain:
        findings += documents.read_metadata(plain)[1]
    return ContractReport(tuple(findings))


@np.errstate(all="ignore")
def validate_pair(train: Arrays, test: Arrays) -> ContractReport:
    """Judge whether two data sets are the disjoint halves of one scan. Each on its own is for :func:`validate`."""
    halves = dict(zip(SPLITS, (_plain(train)[0], _plain(test)[0]), strict=True))
    read = {name: documents.read_metadata(arrays) for name, arrays in halves.items()}
    findings = [error(f.code, f"{name}: {f.message}") for name, (_, found) in read.items() for f in found]
    stored = {name: document or {} for name, (document, _) in read.items()}
    findings += _shared_findings(halves)
    findings += _separation_findings(halves, stored)
    findings += masks.pair_mask_findings(halves["train"], halves["test"])
    bases = [base_sha256(document) for document in stored.values()]
    if None not in bases and bases[0] != bases[1]:
        findings.append(error(documents.METADATA, f"train comes from base {bases[0]}, test from base {bases[1]}"))
    return ContractReport(tuple(findings))


def _plain(arrays: object) -> tuple[dict[str, NDArray[Any]], list[Finding]]:
    """The arrays as they can be judged; what is no array becomes a finding."""
    if not isinstance(arrays, Mapping):
        return {}, [error(structure.KEYS, f"a {type(arrays).__name__} holds no named arrays; expected key to array")]
    plain = {str(key): np.asarray(array) for key, array in arrays.items() if isinstance(array, np.ndarray)}
    return plain, [
        error(structure.DTYPE, f"'{key}' is a {type(value).__name__}; expected an array")
        for key, value in arrays.items()
        if not isinstance(value, np.ndarray)
    ]


def _structure(plain: dict[str, NDArray[Any]], expected: Expectations | None) -> list[Finding]:
    frames = find_frames(plain)
    return [
        *structure.key_findings(plain, expected),
        *structure.dtype_findings(plain),
        *structure.layout_findings(plain, frames),
        *structure.shape_findings(plain, frames, expected),
        *structure.length_findings(plain, frames),
        *structure.unknown_findings(plain, frames),
    ]


def _idle_frames_findings(plain: dict[str, NDArray[Any]]) -> Iterator[Finding]:
    frames = find_frames(plain)
    yield from structure.unknown_findings(plain, frames)
    if frames is None:
        return
    statistics = frame_statistics(frames, None, masks.usable_mask(plain, frames))
    scale = positive_parameter(documents.read_metadata(plain)[0], "intensity_scale")
    found = values.amplitude_findings(frames, statistics, scale), values.centre_findings(plain, frames, statistics)
    for finding in itertools.chain(*found):
        yield information(finding.code, f"{finding.message} (a base needs no frames; these are not used)")


def _shared_findings(halves: Mapping[str, Arrays]) -> Iterator[Finding]:
    indices = {}
    for name, arrays in halves.items():
        index = arrays.get(schema.SCAN_INDEX)
        if index is None or index.ndim != 1 or index.dtype.kind not in "iu":
            yield error(
                SPLIT, f"{name} has no scan_index of whole numbers; that the halves share no frame cannot be shown"
            )
        else:
            indices[name] = index
    if len(indices) == 2:
        shared = np.intersect1d(indices["train"], indices["test"])
        if shared.size:
            yield error(SPLIT, f"train and test share {shared.size} frames, the first with scan_index {shared[0]}")


def _separation_findings(halves: Mapping[str, Arrays], stored: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    points = {name: finite_number(document.get("split_point")) for name, document in stored.items()}
    axes = {name: document.get("split_axis") or "y" for name, document in stored.items()}
    for name, document in stored.items():
        if document.get("split") not in (None, name):
            yield error(SPLIT, f"the file given as {name} records split = {document['split']!r}")
        if points[name] is None:
            yield error(SPLIT, f"{name} records no split_point; that the halves are apart cannot be shown")
        if axes[name] not in ("x", "y"):
            yield error(SPLIT, f"{name} records split_axis = {axes[name]!r}; expected x or y")
    if points["train"] != points["test"] or axes["train"] != axes["test"]:
        yield error(SPLIT, f"the halves record different splits: {axes} at {points}")
        return
    point, key = points["train"], {"x": schema.XCOORDS, "y": schema.YCOORDS}.get(str(axes["train"]))
    if point is None or key is None:
        return
    for name, arrays in halves.items():
        centres = arrays.get(key)
        if centres is None or centres.dtype.kind not in REAL_KINDS or centres.ndim != 1:
            yield error(SPLIT, f"{name} has no usable {key}; that the halves are apart cannot be shown")
            continue
        wrong = (centres < point) != (name == "train")
        if wrong.any():
            first = int(np.argmax(wrong))
            beyond = f"{np.count_nonzero(wrong)} positions lie on the other side of split_point {point:g}"
            place = f"the first is frame {first} at {key} = {centres[first]:g}"
            yield error(SPLIT, f"{name}: {beyond}, {place}")
