"""Images that relstab preprocesses are those of torchvision, timm, Transformers and Pillow, on real photographs."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import skimage
import sklearn
import torchvision.models
from commands import output
from PIL import Image, ImageOps
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform
from torch import Tensor
from transformers import AutoImageProcessor

Array = numpy.ndarray[Any, Any]

#: The same to within one step of 8 bits, and rounding.
STEP = 1.001 / 255

PHOTOGRAPHS = [
    *(
        Path(skimage.__file__).parent / "data" / name
        for name in ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
    ),
    *(Path(sklearn.__file__).parent / "datasets" / "images" / name for name in ("china.jpg", "flower.jpg")),
]


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for path in PHOTOGRAPHS:
        shutil.copy(path, folder)
    return folder


def seen(probe: Path, to: Path, *flags: str) -> Array:
    """The images as a network sees them, in the order of their names."""
    output("relstab", "perturb", "--probe", probe, "--to", to, "--draws", 1, *flags)
    images = numpy.load(to / "images.npy")
    return numpy.asarray(images[numpy.argsort(numpy.load(to / "index.npy"))])


def assert_same(found: Array, expected: Callable[[Image.Image], Any], std: Any) -> None:
    for path, image in zip(sorted(PHOTOGRAPHS, key=lambda path: path.name), found, strict=True):
        other = numpy.asarray(expected(Image.open(path).convert("RGB")))
        difference = numpy.abs(image - other) * numpy.asarray(std).reshape(-1, 1, 1)
        assert difference.max() <= STEP, (path.name, difference.max() * 255)


IMAGENET_STD = [0.229, 0.224, 0.225]


@pytest.mark.parametrize(
    ("preset", "weights"),
    [
        ("imagenet", torchvision.models.ResNet50_Weights.IMAGENET1K_V1),
        ("imagenet-v2", torchvision.models.ResNet50_Weights.IMAGENET1K_V2),
    ],
)
def test_torchvision(photographs: Path, tmp_path: Path, preset: str, weights: Any) -> None:
    assert_same(seen(photographs, tmp_path, "--preprocess", preset), weights.transforms(), IMAGENET_STD)


TIMM = {
    "imagenet-bicubic": {"crop_pct": 0.875, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    "imagenet-inception": {"crop_pct": 0.9, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
    "squashed": {"crop_pct": 1.0, "crop_mode": "squash", "mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 1.0)},
}


@pytest.mark.parametrize("name", TIMM)
def test_timm(photographs: Path, tmp_path: Path, name: str) -> None:
    values: dict[str, Any] = {"input_size": (3, 224, 224), "interpolation": "bicubic", **TIMM[name]}
    transform = create_transform(**resolve_data_config(values))
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"architecture": "any", "pretrained_cfg": values}))
    ways = [str(config)] if name == "squashed" else [str(config), name]
    for way in ways:
        assert_same(seen(photographs, tmp_path, "--preprocess", way), transform, values["std"])


IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": IMAGENET_STD}
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
CLIP = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
CROP = {"do_center_crop": True, "crop_size": {"height": 224, "width": 224}}
SHARE = {"crop_pct": 0.875, "resample": 3}
BICUBIC, BILINEAR = {"resample": 3}, {"resample": 2}

#: Type and size, then the rest, as the files on the hub have it, of classifiers that people use.
TRANSFORMERS: dict[str, tuple[str, dict[str, int], dict[str, Any]]] = {
    "vit": ("ViT", {"height": 224, "width": 224}, {**BILINEAR, **HALF}),
    "resnet": ("ConvNext", {"shortest_edge": 224}, {**SHARE, **IMAGENET}),
    "convnext_384": ("ConvNext", {"shortest_edge": 384}, {**SHARE, **IMAGENET}),
    "clip": ("CLIP", {"shortest_edge": 224}, {**CROP, **BICUBIC, **CLIP}),
    "mobilenet": ("MobileNetV2", {"shortest_edge": 256}, {**CROP, **BILINEAR, **HALF}),
    "deit": ("DeiT", {"height": 256, "width": 256}, {**CROP, **BICUBIC, **IMAGENET}),
}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers(photographs: Path, tmp_path: Path, name: str) -> None:
    steps = {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
    kind, size, rest = TRANSFORMERS[name]
    config = {"image_processor_type": f"{kind}ImageProcessor", "size": size, **steps, **rest}
    assert_as_transformers(photographs, tmp_path, config)


#: Files of the older form: a type of another name, and a number for a size.
OLDER: dict[str, dict[str, Any]] = {
    "ConvNext": {"size": 224, **SHARE, **IMAGENET},
    "PoolFormer": {"size": 224, **BICUBIC, **IMAGENET},
    "Levit": {"size": 224, "do_center_crop": True, **IMAGENET},
    "DeiT": {"size": 256, "do_center_crop": True, "crop_size": 224, **BICUBIC, **IMAGENET},
    "ViT": {"size": 224, **HALF},
    "MobileViT": {"size": 288, "do_normalize": False, "image_std": [1.0, 1.0, 1.0]},
}


@pytest.mark.parametrize("kind", OLDER)
def test_transformers_older(photographs: Path, tmp_path: Path, kind: str) -> None:
    steps = {"do_resize": True, "do_normalize": True}
    config = {"feature_extractor_type": f"{kind}FeatureExtractor", **steps, **OLDER[kind]}
    assert_as_transformers(photographs, tmp_path, config)


def assert_as_transformers(photographs: Path, tmp_path: Path, config: dict[str, Any]) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    processor = AutoImageProcessor.from_pretrained(tmp_path)

    def expected(image: Image.Image) -> Tensor:
        pixels: Tensor = processor(image, return_tensors="pt")["pixel_values"][0]
        return pixels

    found = seen(photographs, tmp_path, "--preprocess", str(tmp_path / "preprocessor_config.json"))
    assert_same(found, expected, config["image_std"])


def variants() -> dict[str, bytes]:
    """One photograph in every way that people store it, by file name."""
    image = Image.open(PHOTOGRAPHS[1]).convert("RGB").resize((96, 64))
    gray = image.convert("L")
    alpha = image.copy()
    alpha.putalpha(gray)
    rotated = Image.Exif()
    rotated[0x0112] = 6
    deep = Image.fromarray(numpy.asarray(gray).astype(numpy.uint16) * 257)
    stored: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "alpha.png": (alpha, {}),
        "baseline.jpg": (image, {"quality": 90}),
        "bitmap.bmp": (image, {}),
        "cmyk.jpg": (image.convert("CMYK"), {"quality": 95}),
        "deep_gray.png": (deep, {}),
        "full.jpeg": (image, {"quality": 85, "subsampling": 0}),
        "gray.jpg": (gray, {"quality": 90}),
        "gray_alpha.png": (gray.convert("LA"), {}),
        "lossless.webp": (image, {"lossless": True}),
        "lossy.webp": (image, {"quality": 80}),
        "palette.png": (image.quantize(64), {}),
        "plain.PNG": (image, {"format": "png"}),
        "progressive.jpg": (image, {"quality": 80, "progressive": True}),
        "rotated.jpg": (image.transpose(Image.Transpose.ROTATE_90), {"quality": 90, "exif": rotated}),
        "two_levels.png": (gray.convert("1"), {}),
    }
    files = {}
    for name, (picture, options) in stored.items():
        buffer = io.BytesIO()
        options.setdefault("format", {"jpg": "jpeg"}.get(name.rsplit(".")[-1], name.rsplit(".")[-1]))
        picture.save(buffer, **options)
        files[name] = buffer.getvalue()
    return files


def test_every_kind_of_file(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    files = variants()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    found = seen(folder, tmp_path / "to")
    for name, image in zip(sorted(files), found, strict=True):
        picture = ImageOps.exif_transpose(Image.open(folder / name))
        if picture.mode.startswith("I"):
            picture = Image.fromarray((numpy.asarray(picture) >> 8).astype(numpy.uint8))
        expected = numpy.asarray(picture.convert("RGB")).transpose(2, 0, 1)
        assert numpy.abs(image * 255 - expected).max() <= 1.01, (name, numpy.abs(image * 255 - expected).max())
