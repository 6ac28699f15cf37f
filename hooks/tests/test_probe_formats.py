"""The same images through every format are the same probe set and give the same R_f."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.parquet
import pytest
import torch
import webdataset
from commands import record_of, run
from PIL import Image
from test_preprocess import PHOTOGRAPHS
from torch import nn

Array = numpy.ndarray[Any, Any]

COUNT, CLASSES = 120, 10
#: In the order of their classes, as folders list them.
LABELS = numpy.arange(COUNT) // (COUNT // CLASSES)


def pictures() -> Array:
    """Squares of 32 pixels out of photographs, [n, y, x, channel] bytes."""
    generator = numpy.random.default_rng(0)
    pictures = []
    for index in range(COUNT):
        photograph = Image.open(PHOTOGRAPHS[index % len(PHOTOGRAPHS)]).convert("RGB")
        side = int(generator.integers(64, 256))
        left, top = generator.integers(0, photograph.width - side), generator.integers(0, photograph.height - side)
        box = (float(left), float(top), float(left + side), float(top + side))
        pictures.append(numpy.asarray(photograph.resize((32, 32), Image.Resampling.BILINEAR, box)))
    return numpy.stack(pictures)


IMAGES = pictures()
PLANES = numpy.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2))


def png(index: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(IMAGES[index]).save(buffer, format="png")
    return buffer.getvalue()


def npz(folder: Path) -> Path:
    numpy.savez(folder / "images.npz", images=PLANES, labels=LABELS)
    return folder / "images.npz"


def npz_compressed(folder: Path) -> Path:
    numpy.savez_compressed(folder / "images.npz", x_test=IMAGES, y_test=LABELS.astype(numpy.uint8))
    return folder / "images.npz"


def npz_without_names(folder: Path) -> Path:
    numpy.savez(folder / "images.npz", PLANES, LABELS)
    return folder / "images.npz"


def npz_of_wide_numbers(folder: Path) -> Path:
    numpy.savez(folder / "images.npz", images=PLANES.astype(numpy.int64), labels=LABELS.astype(numpy.float32))
    return folder / "images.npz"


def npz_one_hot(folder: Path) -> Path:
    numpy.savez(folder / "images.npz", images=PLANES.astype(numpy.uint16), labels=numpy.eye(CLASSES)[LABELS])
    return folder / "images.npz"


def idx(folder: Path) -> Path:
    sizes = struct.pack(">4B4I", 0, 0, 8, 4, COUNT, 32, 32, 3)
    (folder / "t10k-images-idx4-ubyte").write_bytes(sizes + IMAGES.tobytes())
    (folder / "t10k-labels-idx1-ubyte").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, COUNT) + bytes(LABELS.tolist()))
    return folder / "t10k-images-idx4-ubyte"


def image_folder(folder: Path) -> Path:
    for index, label in enumerate(LABELS):
        path = folder / "test" / f"class_{label}" / f"{index:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(index))
    (folder / "test" / ".hidden").mkdir()
    (folder / "test" / "class_0" / "notes.txt").write_text("no image")
    return folder / "test"


def cifar10_binary(folder: Path) -> Path:
    records = [bytes([label]) + image.tobytes() for label, image in zip(LABELS, PLANES, strict=True)]
    (folder / "test_batch.bin").write_bytes(b"".join(records))
    return folder


def cifar100_binary(folder: Path) -> Path:
    records = [bytes([label // 5, label]) + image.tobytes() for label, image in zip(LABELS, PLANES, strict=True)]
    (folder / "test.bin").write_bytes(b"".join(records))
    return folder / "test.bin"


def batch(names: dict[str, str]) -> dict[Any, Any]:
    return {names["data"]: PLANES.reshape(COUNT, -1), names["labels"]: [int(label) for label in LABELS]}


def cifar10_pickled(folder: Path) -> Path:
    (folder / "batches.meta").write_bytes(b"")
    (folder / "test_batch").write_bytes(pickle.dumps(batch({"data": "data", "labels": "labels"}), protocol=2))
    return folder


def cifar100_pickled(folder: Path) -> Path:
    content = batch({"data": "data", "labels": "fine_labels"}) | {"coarse_labels": [0] * COUNT}
    (folder / "test").write_bytes(pickle.dumps(content, protocol=4))
    return folder / "test"


def cifar10_of_python_2(folder: Path) -> Path:
    """As the published batches were written: names and pixels are Python 2's byte strings."""

    def text(content: bytes) -> bytes:
        return (
            b"U" + bytes([len(content)]) + content
            if len(content) < 256
            else b"T" + struct.pack("<I", len(content)) + content
        )

    def number(value: int) -> bytes:
        return b"K" + bytes([value]) if value < 256 else b"J" + struct.pack("<i", value)

    kind = b"cnumpy\ndtype\n" + text(b"u1") + number(0) + number(1) + b"\x87R("
    kind += number(3) + text(b"|") + b"NNN" + struct.pack("<BiBi", 0x4A, -1, 0x4A, -1) + number(0) + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + number(0) + b"\x85" + text(b"b") + b"\x87R("
    array += number(1) + number(COUNT) + number(3072) + b"\x86" + kind + b"\x89" + text(PLANES.tobytes()) + b"tb"
    labels = b"](" + b"".join(number(int(label)) for label in LABELS) + b"e"
    content = b"\x80\x02}(" + text(b"data") + array + text(b"labels") + labels + b"u."
    assert (pickle.loads(content, encoding="bytes")[b"data"] == PLANES.reshape(COUNT, -1)).all()
    (folder / "test_batch").write_bytes(content)
    return folder / "test_batch"


def table(rows: range, image: str, label: str) -> pyarrow.Table:
    files = [{"bytes": png(index), "path": f"{index}.png"} for index in rows]
    return pyarrow.table({image: files, label: [int(LABELS[index]) for index in rows]})


def parquet(folder: Path) -> Path:
    pyarrow.parquet.write_table(table(range(COUNT), "img", "label"), folder / "test.parquet", compression="zstd")
    return folder / "test.parquet"


def parquet_of_floats(folder: Path) -> Path:
    rows = table(range(COUNT), "image", "label")
    floats = rows.set_column(1, "label", pyarrow.array(LABELS.astype(numpy.float64)))
    pyarrow.parquet.write_table(floats, folder / "test.parquet")
    return folder / "test.parquet"


def parquet_shards(folder: Path) -> Path:
    for shard, rows in enumerate([range(50), range(50, COUNT)]):
        path = folder / f"test-{shard:05}-of-00002.parquet"
        pyarrow.parquet.write_table(table(rows, "image", "fine_label"), path, row_group_size=17, compression="snappy")
    return folder


def webdataset_tar(folder: Path) -> Path:
    with webdataset.TarWriter(str(folder / "test.tar"), encoder=False) as writer:
        for index, label in enumerate(LABELS):
            writer.write({"__key__": f"{index:04}", "png": png(index), "cls": str(label).encode()})
    return folder / "test.tar"


def webdataset_shards(folder: Path) -> Path:
    for shard, rows in enumerate([range(33), range(33, COUNT)]):
        with tarfile.open(folder / f"{shard:06}.tar", "w") as archive:
            for index in rows:
                for name, content in (
                    (f"{index:04}.cls", f"{LABELS[index]}\n".encode()),
                    # As macOS packs it.
                    (f"._{index:04}.png", b"what the Finder knows"),
                    (f"{index:04}.png", png(index)),
                ):
                    header = tarfile.TarInfo(f"./{name}")
                    header.size = len(content)
                    archive.addfile(header, io.BytesIO(content))
    return folder


FORMATS: list[Callable[[Path], Path]] = [
    npz,
    npz_compressed,
    npz_without_names,
    npz_of_wide_numbers,
    npz_one_hot,
    idx,
    image_folder,
    cifar10_binary,
    cifar100_binary,
    cifar10_pickled,
    cifar100_pickled,
    cifar10_of_python_2,
    parquet,
    parquet_of_floats,
    parquet_shards,
    webdataset_tar,
    webdataset_shards,
]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU(), nn.Flatten()
    )
    model.append(nn.Linear(8 * 49, CLASSES))
    path = tmp_path_factory.mktemp("network") / "network.onnx"
    torch.onnx.export(model, (torch.zeros(1, 3, 32, 32),), str(path), verbose=False, dynamic_shapes=({0: "batch"},))
    return path


def measured(network: Path, probe: Path, *flags: str) -> dict[str, Any]:
    return record_of("measure", network, "--probe", probe, *flags)


def refused(network: Path, probe: Path) -> str:
    result = run("relstab", "measure", network, "--probe", probe)
    assert result.returncode == 3, result.stdout
    return result.stderr


@pytest.mark.parametrize("write", FORMATS)
@pytest.mark.parametrize("images", [COUNT, 40])
def test_same_set_same_number(network: Path, tmp_path: Path, write: Callable[[Path], Path], images: int) -> None:
    expected = measured(network, npz(tmp_path), "--images", str(images), "--draws", "1")
    (tmp_path / "other").mkdir()
    found = measured(network, write(tmp_path / "other"), "--images", str(images), "--draws", "1")
    assert found["probe"]["sha256"] == expected["probe"]["sha256"]
    assert found["probe"]["images"] == images
    assert found["r_f"] == expected["r_f"]
    assert found["probe_error"] == expected["probe_error"] is not None


def test_what_cannot_be_decoded_is_named_and_passed_over(network: Path, tmp_path: Path) -> None:
    folder = image_folder(tmp_path)
    whole = measured(network, folder, "--draws", "1")
    broken = folder / "class_3" / "0040.png"
    broken.write_bytes(broken.read_bytes()[:200])
    complaint = refused(network, folder)
    assert "class_3/0040.png" in complaint and "--max-bad" in complaint
    found = measured(network, folder, "--draws", "1", "--max-bad", "1")
    assert found["probe"]["images"] == whole["probe"]["images"] - 1
    assert any("class_3/0040.png" in warning for warning in found["warnings"])
    # One that is passed over is replaced where there are more.
    assert measured(network, folder, "--draws", "1", "--max-bad", "1", "--images", "100")["probe"]["images"] == 100


def test_sizes_and_splits_that_are_mixed_are_refused(network: Path, tmp_path: Path) -> None:
    folder = image_folder(tmp_path)
    Image.fromarray(IMAGES[0]).resize((40, 32)).save(folder / "class_0" / "wide.png")
    (tmp_path / "train").mkdir()
    for probe, word in ((folder, "wide.png"), (tmp_path, "test, train: name one of them")):
        complaint = refused(network, probe)
        assert word in complaint, complaint
    assert measured(network, folder, "--preprocess", "resize=32x32", "--images", "121")["probe"]["images"] == 121


def test_folders_that_are_no_classes_give_no_labels(network: Path, tmp_path: Path) -> None:
    above = tmp_path / "above"
    above.mkdir()
    folder = image_folder(above)
    assert f"name {folder}" in refused(network, above)
    (above / "annotations").mkdir()
    (above / "training").mkdir()
    assert "test, training: name one of them" in refused(network, above)
    flat = tmp_path / "flat" / "images"
    flat.mkdir(parents=True)
    for index in range(COUNT):
        (flat / f"{index:04}.png").write_bytes(png(index))
    Image.fromarray(IMAGES[0]).save(flat / "more.tif")
    found = measured(network, flat.parent, "--draws", "1")
    assert found["probe_error"] is None
    told = " ".join(found["warnings"])
    assert "taken for no class" in told and "1 files are passed over" in told and "images/more.tif" in told, told


def test_labels_that_are_left_out_are_told_of(network: Path, tmp_path: Path) -> None:
    rows = table(range(COUNT), "img", "label")
    unknown = pyarrow.array([None, *rows["label"].to_pylist()[1:]])
    words = pyarrow.array([f"class {label}" for label in LABELS])
    halves = pyarrow.array(LABELS / 2)
    lists = pyarrow.array([[int(label)] for label in LABELS])
    for labels, reason in (
        (unknown, "1 of 120 rows have none"),
        (words, "holds no numbers of classes"),
        (halves, "numbers that are not whole"),
        (lists, "does not hold one number a row"),
    ):
        pyarrow.parquet.write_table(rows.set_column(1, "label", labels), tmp_path / "test.parquet")
        found = measured(network, tmp_path / "test.parquet", "--draws", "1")
        assert found["probe_error"] is None
        assert any(reason in warning for warning in found["warnings"]), found["warnings"]
    numpy.savez(tmp_path / "other.npz", images=PLANES, masks=LABELS)
    assert any(
        "(masks)" in warning for warning in measured(network, tmp_path / "other.npz", "--draws", "1")["warnings"]
    )


def test_arrays_of_other_numbers_are_taken_or_refused_with_what_to_do(network: Path, tmp_path: Path) -> None:
    floats = (PLANES / 256).astype(numpy.float16)
    numpy.save(tmp_path / "half.npy", floats)
    numpy.save(tmp_path / "single.npy", floats.astype(numpy.float32))
    half, single = (measured(network, tmp_path / f"{name}.npy", "--draws", "1") for name in ("half", "single"))
    assert half["r_f"] == single["r_f"]
    numpy.save(tmp_path / "deep.npy", PLANES.astype(numpy.uint16) * 257)
    assert "divide by the largest possible value" in refused(network, tmp_path / "deep.npy")
    numpy.save(tmp_path / "binary.npy", PLANES > 128)
    assert "astype" in refused(network, tmp_path / "binary.npy")
    for labels, reason in (
        (numpy.array([f"class {label}" for label in LABELS]), "numpy.unique"),
        (numpy.full(COUNT, 0.1), "whole numbers"),
        (LABELS - 1, "labels from 0 up"),
        (numpy.full((COUNT, CLASSES), 0.1), "numpy.argmax"),
        (numpy.ones((COUNT, CLASSES)), "numpy.argmax"),
        (numpy.zeros((COUNT, 0)), "labels of rank 1"),
    ):
        numpy.savez(tmp_path / "labelled.npz", images=PLANES, labels=labels)
        assert reason in refused(network, tmp_path / "labelled.npz"), reason


def test_a_list_of_labels_in_a_folder_is_said_to_be_ignored(network: Path, tmp_path: Path) -> None:
    for index in range(20):
        (tmp_path / f"{index:04}.png").write_bytes(png(index))
    (tmp_path / "labels.csv").write_text("file,label\n")
    warnings = measured(network, tmp_path, "--draws", "1")["warnings"]
    assert any("labels.csv is not read" in warning for warning in warnings), warnings


def test_bytes_behind_a_whole_jpeg_are_nobodys(network: Path, tmp_path: Path) -> None:
    """Telephones put a film there, which may hold the mark of a scan; a file that is cut short is still none."""
    whole, longer = tmp_path / "whole", tmp_path / "longer"
    for folder in (whole, longer):
        folder.mkdir()
    for index in range(20):
        for folder, behind in ((whole, b""), (longer, b"film \xff\xda\x00\x0c and more")):
            path = folder / f"{index:04}.jpg"
            Image.fromarray(IMAGES[index]).save(path, progressive=index % 2 == 0)
            path.write_bytes(path.read_bytes() + behind)
    found = [measured(network, folder, "--draws", "1")["probe"]["sha256"] for folder in (whole, longer)]
    assert found[0] == found[1]
    path = longer / "0003.jpg"
    path.write_bytes((whole / "0003.jpg").read_bytes()[:-20])
    assert "cut short" in refused(network, longer)


def test_an_array_of_the_right_size_that_is_resized_is_told_of(network: Path, tmp_path: Path) -> None:
    def warnings(preprocess: str) -> str:
        return " ".join(measured(network, npz(tmp_path), "--draws", "1", "--preprocess", preprocess)["warnings"])

    assert "had the network's size already" in warnings("resize=40x40,crop=32")
    assert "had the network's size already" not in warnings("resize=32x32")


def test_pickled_arrays_that_are_no_rows_of_planes_are_refused(network: Path, tmp_path: Path) -> None:
    rows = PLANES.reshape(COUNT, -1)
    others = {
        "32, 32, 3": numpy.ascontiguousarray(PLANES.transpose(0, 2, 3, 1)),
        "C's order": numpy.asfortranarray(rows),
    }
    for word, data in others.items():
        content = {"data": data, "labels": [int(label) for label in LABELS]}
        for protocol in (2, 4):
            (tmp_path / "test_batch").write_bytes(pickle.dumps(content, protocol=protocol))
            complaint = refused(network, tmp_path / "test_batch")
            assert word in complaint, complaint


def test_files_of_another_colour_are_converted_and_that_is_said(network: Path, tmp_path: Path) -> None:
    folder = image_folder(tmp_path)
    for path in folder.glob("*/*.png"):
        Image.open(path).convert("L").save(path)
    found = measured(network, folder, "--draws", "1")
    assert found["probe"]["shape"] == [3, 32, 32] and found["probe"]["color"] == "rgb"
    assert any("the images are gray" in warning for warning in found["warnings"])
    assert measured(network, folder, "--draws", "1", "--preprocess", "color=rgb")["r_f"] == found["r_f"]
