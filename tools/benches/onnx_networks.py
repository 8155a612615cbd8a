#!/usr/bin/env python3
"""Exports the networks that tools/bench onnx measures, with random weights: onnx_networks.py FOLDER.

ResNet-50, MobileNetV2 (torchvision) and BERT-base (transformers) by torch.onnx.export; `_qdq` by ONNX Runtime's quantize_static
(u8 activations, i8 weights by channel), `_dynamic` by its quantize_dynamic. Runs in the environment that tools/peers makes.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import torch
import torchvision
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from transformers import BertConfig, BertModel


class Pictures(CalibrationDataReader):
    def __init__(self):
        rng = np.random.default_rng(0)
        self.left = [rng.standard_normal((1, 3, 224, 224), dtype=np.float32) for _ in range(4)]

    def get_next(self):
        return {"input": self.left.pop()} if self.left else None


class LastHidden(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    for name in ("resnet50", "mobilenet_v2"):
        path = folder / f"{name}.onnx"
        model = getattr(torchvision.models, name)(weights=None).train()
        with torch.no_grad():   # statistics that fit the weights
            for _ in range(2):
                model(torch.randn(4, 3, 224, 224))
        torch.onnx.export(model.eval(), torch.randn(1, 3, 224, 224), path, input_names=["input"], output_names=["output"],
                          dynamic_axes={"input": {0: "N"}, "output": {0: "N"}}, dynamo=False, opset_version=17)
        ready = folder / f"{name}_ready.onnx"
        quant_pre_process(path, ready)
        quantize_static(ready, folder / f"{name}_qdq.onnx", Pictures(), quant_format=QuantFormat.QDQ, per_channel=True,
                        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
        ready.unlink()
    sizes = {0: "N", 1: "S"}
    given = (torch.randint(0, 30000, (1, 128)), torch.ones(1, 128, dtype=torch.long))
    torch.onnx.export(LastHidden(BertModel(BertConfig(attn_implementation="eager")).eval()), given, folder / "bert_base.onnx",
                      input_names=["input_ids", "attention_mask"], output_names=["last_hidden_state"],
                      dynamic_axes={"input_ids": sizes, "attention_mask": sizes, "last_hidden_state": sizes}, dynamo=False, opset_version=17)
    quantize_dynamic(folder / "bert_base.onnx", folder / "bert_base_dynamic.onnx")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
