"""Makes the files in tests/fixtures/foreign: what people give for an ONNX network, as the libraries write it, at most 4 KiB of each.

pip install -r models/requirements.txt h5py keras safetensors tensorflow
python models/foreign.py
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import sysconfig
import tarfile
import tempfile
import zipfile
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import onnx
import onnxruntime
import safetensors.torch
import tensorflow as tf
import torch
from google.protobuf import text_format

FIXTURES = Path(__file__).parent.parent / "tests" / "fixtures"
FOLDER = FIXTURES / "foreign"
ENOUGH = 4096


def keep(name: str, content: bytes) -> None:
    # Where PyTorch lies here, which it notes in its files, is nobody's business.
    here = sysconfig.get_path("purelib").encode()
    (FOLDER / name).write_bytes(content[:ENOUGH].replace(here, b"/usr/lib".ljust(len(here), b"/")))


def pytorch(folder: Path) -> None:
    network = torch.nn.Linear(4, 2)
    for name, options in (("torch_zip", {}), ("torch_pickle", {"_use_new_zipfile_serialization": False})):
        torch.save({"model": network.state_dict(), "step": 10}, folder / name, **options)
    torch.jit.save(torch.jit.script(network), folder / "torchscript")
    torch.export.save(torch.export.export(network.eval(), (torch.zeros(1, 4),)), folder / "program.pt2")
    (folder / "program.pt2").rename(folder / "torch_export")
    safetensors.torch.save_file(network.state_dict(), folder / "safetensors")


def keras_files(folder: Path) -> None:
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    for name, ending in (("keras_zip", ".keras"), ("keras_hdf5", ".h5")):
        network.save(folder / f"{name}{ending}")
        (folder / f"{name}{ending}").rename(folder / name)


def tflite(folder: Path) -> None:
    class Network(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([1, 4], tf.float32)])
        def __call__(self, x: tf.Tensor) -> tf.Tensor:
            return tf.nn.relu(x)

    network = Network()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.__call__.get_concrete_function()], network)
    (folder / "tflite").write_bytes(converter.convert())


def ort_format(folder: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "ort_format")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(FIXTURES / "linear.onnx", options, providers=["CPUExecutionProvider"])


def archives(network: bytes) -> None:
    keep("gzip", gzip.compress(network, mtime=0))
    keep("xz", lzma.compress(network))
    keep("bzip2", bz2.compress(network))
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr(zipfile.ZipInfo("network.onnx"), network)
    with tarfile.open(fileobj=tarred, mode="w") as archive:
        entry = tarfile.TarInfo("network.onnx")
        entry.size = len(network)
        archive.addfile(entry, io.BytesIO(network))
    keep("zip", zipped.getvalue())
    keep("tar", tarred.getvalue())


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for make in (pytorch, keras_files, tflite, ort_format):
            make(folder)
        for file in folder.iterdir():
            keep(file.name, file.read_bytes())
    model = onnx.load(FIXTURES / "linear.onnx")
    archives(model.SerializeToString())
    keep("onnx_json", onnx._get_serializer("json").serialize_proto(model))
    keep("onnx_textproto", text_format.MessageToString(model).encode())
    keep("onnx_text", onnx.printer.to_text(model).encode())
    keep("pickle", pickle.dumps({"weights": [0.5] * 4}, protocol=4))
    arrays = io.BytesIO()
    np.savez(arrays, weights=np.zeros(4))
    keep("npz", arrays.getvalue())


if __name__ == "__main__":
    main()
