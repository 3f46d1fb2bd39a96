"""DICOM files for tests: written by pydicom, which the extra `dicom` brings."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)


def film(samples: NDArray[Any], bits: int = 12, *, syntax: str = ExplicitVRLittleEndian, **tags: Any) -> FileDataset:
    """A DICOM of grey (H, W), several frames (F, H, W) or colours (H, W, 3), compressed where `syntax` is.

    Args:
        samples: their type says the bits a sample is stored in and whether it has a sign.
        bits: in use.
        syntax: a transfer syntax.
        tags: by keyword; None removes one.
    """
    # The same in every run: ids and splits come from the files' bytes.
    uid = generate_uid(entropy_srcs=[samples.tobytes().hex(), syntax, repr(tags)])
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == DeflatedExplicitVRLittleEndian else syntax
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = SecondaryCaptureImageStorage, uid
    little = syntax != ExplicitVRBigEndian
    out = FileDataset(None, {}, bytes(128), meta, is_implicit_VR=False, is_little_endian=little)
    if syntax == ImplicitVRLittleEndian:
        out.set_original_encoding(True, True)
    colours = samples.ndim == 3 and samples.shape[-1] == 3
    out.SOPClassUID, out.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    out.Modality = "DX"
    out.Rows, out.Columns = samples.shape[:2] if colours else samples.shape[-2:]
    out.SamplesPerPixel = 3 if colours else 1
    out.PhotometricInterpretation = "RGB" if colours else "MONOCHROME2"
    if colours:
        out.PlanarConfiguration = 0
    elif samples.ndim == 3:
        out.NumberOfFrames = len(samples)
    out.BitsAllocated = 8 * samples.dtype.itemsize
    out.BitsStored, out.HighBit = bits, bits - 1
    out.PixelRepresentation = int(samples.dtype.kind == "i")
    out.PixelData = samples.astype(samples.dtype.newbyteorder("<" if little else ">")).tobytes()
    out["PixelData"].VR = "OB" if out.BitsAllocated == 8 else "OW"
    if meta.TransferSyntaxUID.is_compressed and syntax != DeflatedExplicitVRLittleEndian:
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        out.compress(syntax, encoding_plugin="pylibjpeg" if "4." in syntax[17:] else "pydicom")
    meta.TransferSyntaxUID = syntax
    for keyword, value in tags.items():
        if value is None:
            delattr(out, keyword)
        else:
            setattr(out, keyword, value)
    return out


def saved(dataset: Dataset, **options: Any) -> bytes:
    """The file's bytes."""
    data = io.BytesIO()
    dataset.save_as(data, **({"enforce_file_format": True} | options))
    return data.getvalue()


def twelve_bits(levels: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Grey levels 0..255 as samples of 12 bits."""
    return np.round(levels * (4095 / 255)).astype(np.uint16)
