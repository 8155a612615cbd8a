"""Makes golden/onnx_models/*.npz: answers of ONNX Runtime (optimisations off, one thread) to small inputs for the
models that tools/onnx_models.py fetches: make_onnx_models.py FOLDER_OF_MODELS. Needs the package onnxruntime."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime

HERE = Path(__file__).resolve().parent / "onnx_models"
sys.path.insert(0, str(HERE.parent.parent.parent.parent / "tools"))
import onnx_models  # noqa: E402

RNG = np.random.default_rng(0)


def picture(height, width):
    """Shades, bars and a disc in [0, 1], (height, width, 3) float32."""
    y, x = np.mgrid[:height, :width].astype("f4")
    shade = np.stack([x / width, y / height, (x + y) / (width + height)], -1)
    shade[(x // 9 % 4 == 0) & (y > height * 0.3) & (y < height * 0.7)] = 0.1
    shade[(x - width * 0.6) ** 2 + (y - height / 2) ** 2 < (min(width, height) / 5) ** 2] = (0.9, 0.7, 0.6)
    return shade.astype("f4")


def voice(rate, seconds):
    """A voiced sound: harmonics of a gliding pitch under two formants, in syllables; (samples,) float32."""
    t = np.arange(int(rate * seconds)) / rate
    pitch = 140 + 25 * np.sin(2 * np.pi * 1.3 * t)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    sound = np.zeros_like(t)
    for k in range(1, int(rate / 2 / 170)):
        f = k * pitch
        sound += np.sin(k * phase) * (np.exp(-(((f - 650) / 250) ** 2)) + 0.6 * np.exp(-(((f - 1200) / 300) ** 2)) + 0.02)
    envelope = np.clip(np.sin(2 * np.pi * 3.1 * t), 0, None) ** 0.5
    return (0.2 * envelope * sound / np.abs(sound).max() + 1e-3 * RNG.standard_normal(len(t))).astype("f4")


def normal(*shape):
    return RNG.standard_normal(shape).astype("f4")


def chunks_of(sound, n, context):
    padded = np.concatenate([np.zeros(context, "f4"), sound])
    return np.stack([padded[i : i + n + context] for i in range(0, len(sound) - n + 1, n)])


def text(*shape, n):
    return RNG.integers(1, n, shape)


def image(height, width):
    return (picture(height, width).transpose(2, 0, 1)[None] * 2 - 1).astype("f4")


CASES = {
    "basic_pitch": [voice(22050, 2).repeat(1)[None, :43844, None]],
    "ddddocr_common": [picture(64, 110).mean(2)[None, None]],
    "magika": [np.frombuffer((b"import os\n\ndef main():\n    print(os.getcwd())\n" * 50)[:2048], "u1").astype("i4")[None]],
    "open_nsfw": [picture(224, 224)[None] * 255 - 110],
    "ppocr_cls": [image(48, 192)],
    "ppocrv4_det": [image(96, 160)],
    "ppocrv4_rec": [image(48, 120)],
    "romanizer_ar_decoder": [text(2, 4, n=160), normal(2, 7, 256), np.ones((2, 7), bool), normal(2, 2, 256)],
    "romanizer_ar_encoder": [text(2, 9, n=40), np.arange(9) < np.array([[9], [6]])],
    "silero_vad": [chunks_of(voice(16000, 0.5), 512, 64)[3:6], 0.1 * normal(2, 3, 128), np.array(16000)],
    "silero_vad_16k_sequence": [chunks_of(voice(16000, 0.6), 512, 64), normal(1, 1, 128), normal(1, 1, 128)],
    "style_multistyle26": [picture(48, 64).transpose(2, 0, 1)[None], np.eye(26, dtype="f4")[3]],
    "swift_f0": [voice(16000, 0.7)[None], np.array(46.875, "f4"), np.array(2093.75, "f4")],
    "tashkeel_bilstm_int8": [text(1, 24, n=40)],
    "tashkeel_rawi_v2_int8": [text(1, 24, n=40)],
}

if __name__ == "__main__":
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    for name, path in onnx_models.fetch(sys.argv[1]).items():
        answers = []
        for level in (onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL):
            options.graph_optimization_level = level
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            feed = dict(zip([i.name for i in session.get_inputs()], CASES[name], strict=True))
            answers.append(session.run(None, feed))
        plain, fast = answers
        spread = max(float(np.abs(a.astype("f8") - b).max()) for a, b in zip(plain, fast))
        HERE.mkdir(exist_ok=True)
        np.savez_compressed(
            HERE / f"{name}.npz", spread=spread,
            **{f"in_{k}": v for k, v in enumerate(CASES[name])}, **{f"out_{k}": v for k, v in enumerate(plain)},
        )
        print(name, [f"{o.dtype}{list(o.shape)}" for o in plain], f"spread {spread:.2g}")
