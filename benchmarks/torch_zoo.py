"""Read PyTorch models of foreign libraries, verify them, and write a table with a row for each.

    python benchmarks/torch_zoo.py --install zoo_packages --output docs/foreign_models.csv
    python benchmarks/torch_zoo.py --packages zoo_packages --output zoo.csv --only ultralytics

The libraries are installed into a folder of their own, without what they depend on, which would be
another PyTorch; what they do need is listed. Models have random weights. Rows are written as they
come, and models that the table has are left out.
"""

# ruff: noqa: C408 options read best as they are passed
from __future__ import annotations

import argparse
import contextlib
import csv
import functools
import importlib
import io
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.foreign_table import continued, installed, judged, not_measured
from rfa_toolbox import create_graph_from_pytorch_model
from rfa_toolbox.empirical import verify
from rfa_toolbox.errors import RFAError
from tests.frameworks import import_torchvision

LIBRARIES = (
    *("timm", "transformers", "segmentation-models-pytorch", "ultralytics", "monai", "pytorchcv"),
    *("kornia", "braindecode", "spandrel", "python-doctr", "diffusers", "efficientnet-pytorch"),
    *("pretrainedmodels", "vit-pytorch", "dynamic-network-architectures"),
)
NEEDED = (
    *("ultralytics-thop", "kornia-rs", "einops", "munch", "docstring-inheritance", "skorch", "six"),
    *("opencv-python-headless", "scipy", "mne", "mne-bids", "lazy_loader", "decorator", "pooch"),
    *("anyascii", "torchinfo", "shapely", "pyclipper", "langdetect", "rapidfuzz", "pypdfium2"),
    *("validators", "axial-positional-embedding", "linear-attention-transformer"),
    *("local-attention", "product-key-memory"),
    *("defusedxml", "narwhals", "tabulate", "wfdb", "scikit-learn", "joblib", "threadpoolctl"),
    *("matplotlib", "psutil", "requests", "pyyaml", "tqdm", "safetensors", "huggingface_hub"),
    *("tokenizers", "regex", "packaging", "filelock", "h5py", "polars", "ftfy", "wcwidth"),
)

COLUMNS = (
    *("model", "library", "read", "nodes", "exact", "bound", "unknown"),
    *("agrees", "not measured", "differs", "seconds", "notes"),
)

RGB = (1, 3, 64, 64)
LARGE = (1, 3, 224, 224)
Maker = Callable[[], Any]


def _new(path: str, *arguments: Any, **options: Any) -> Maker:
    """Return what makes an object of ``module:name``."""
    module, _, name = path.partition(":")

    def make() -> Any:
        found = functools.reduce(getattr, name.split("."), importlib.import_module(module))
        return found(*arguments, **options)

    return make


def _smp(name: str, encoder: str = "resnet18", **options: Any) -> Maker:
    return _new(f"segmentation_models_pytorch:{name}", encoder, encoder_weights=None, **options)


def _yolo(config: str, kind: str = "DetectionModel") -> Maker:
    return _new(f"ultralytics.nn.tasks:{kind}", config, verbose=False)


def _monai(name: str, **options: Any) -> Maker:
    return _new(f"monai.networks.nets:{name}", **options)


def _cv(name: str) -> Maker:
    return _new("pytorchcv.model_provider:get_model", name, pretrained=False)


def _timm(name: str) -> Maker:
    return _new("timm:create_model", name)


def _hugging(kind: str, config: str, **options: Any) -> Maker:
    def make() -> Any:
        library = importlib.import_module("transformers")
        return getattr(library, kind)(getattr(library, config)(**options))

    return make


def _brain(name: str, **options: Any) -> Maker:
    known = dict(n_chans=22, n_outputs=4, n_times=1000) | options
    return _new(f"braindecode.models:{name}", **known)


def _nnunet(name: str, **options: Any) -> Maker:
    def make() -> Any:
        torch = importlib.import_module("torch")
        known = dict(
            input_channels=1, n_stages=4, features_per_stage=(8, 16, 32, 64),
            conv_op=torch.nn.Conv2d, kernel_sizes=3, strides=(1, 2, 2, 2), num_classes=2,
            n_conv_per_stage_decoder=(1, 1, 1), conv_bias=True, norm_op=torch.nn.InstanceNorm2d,
            norm_op_kwargs={"eps": 1e-5, "affine": True}, nonlin=torch.nn.LeakyReLU,
            nonlin_kwargs={"inplace": True}, deep_supervision=True,
        )  # fmt: skip
        module = importlib.import_module("dynamic_network_architectures.architectures.unet")
        return getattr(module, name)(**known | options)

    return make


def _detector(name: str) -> Maker:
    return _new(f"torchvision.models.detection:{name}", weights=None, weights_backbone=None)


TINY = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
DIFFUSION = dict(
    block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8,
    down_block_types=("DownBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "UpBlock2D"),
)  # fmt: skip
CODER = dict(
    block_out_channels=(32, 64), norm_num_groups=8, down_block_types=("DownEncoderBlock2D",) * 2,
    up_block_types=("UpDecoderBlock2D",) * 2,
)  # fmt: skip
VIT = dict(image_size=64, patch_size=8, num_classes=10, dim=32, depth=2, heads=2, mlp_dim=64)

MODELS: Mapping[str, tuple[Maker, Any]] = {
    "torchvision FasterRCNN": (_detector("fasterrcnn_resnet50_fpn"), (1, 3, 224, 224)),
    "torchvision MaskRCNN": (_detector("maskrcnn_resnet50_fpn"), (1, 3, 224, 224)),
    "torchvision KeypointRCNN": (_detector("keypointrcnn_resnet50_fpn"), (1, 3, 224, 224)),
    "torchvision RetinaNet": (_detector("retinanet_resnet50_fpn"), (1, 3, 224, 224)),
    "torchvision FCOS": (_detector("fcos_resnet50_fpn"), (1, 3, 224, 224)),
    "torchvision SSD": (_detector("ssd300_vgg16"), (1, 3, 300, 300)),
    "smp Unet": (_smp("Unet"), RGB),
    "smp UnetPlusPlus": (_smp("UnetPlusPlus"), RGB),
    "smp FPN": (_smp("FPN"), RGB),
    "smp DeepLabV3Plus": (_smp("DeepLabV3Plus"), RGB),
    "smp PSPNet": (_smp("PSPNet"), RGB),
    "smp MAnet": (_smp("MAnet"), RGB),
    "smp Linknet": (_smp("Linknet", "mobilenet_v2"), RGB),
    "smp PAN": (_smp("PAN"), (1, 3, 128, 128)),
    "smp UPerNet": (_smp("UPerNet"), RGB),
    "smp Segformer": (_smp("Segformer", "mit_b0"), RGB),
    "ultralytics YOLOv5n": (_yolo("yolov5n.yaml"), RGB),
    "ultralytics YOLOv8n": (_yolo("yolov8n.yaml"), RGB),
    "ultralytics YOLOv8n pose": (_yolo("yolov8n-pose.yaml", "PoseModel"), RGB),
    "ultralytics YOLOv9t": (_yolo("yolov9t.yaml"), RGB),
    "ultralytics YOLOv10n": (_yolo("yolov10n.yaml"), RGB),
    "ultralytics YOLO11n": (_yolo("yolo11n.yaml"), RGB),
    "ultralytics YOLO11n seg": (_yolo("yolo11n-seg.yaml", "SegmentationModel"), RGB),
    "ultralytics YOLO11n cls": (_yolo("yolo11n-cls.yaml", "ClassificationModel"), RGB),
    "ultralytics YOLO12n": (_yolo("yolo12n.yaml"), RGB),
    "ultralytics RT-DETR": (_yolo("rtdetr-l.yaml", "RTDETRDetectionModel"), (1, 3, 640, 640)),
    "monai UNet": (
        _monai("UNet", spatial_dims=2, in_channels=1, out_channels=2, channels=(8, 16, 32),
               strides=(2, 2), num_res_units=2),
        (1, 1, 64, 64),
    ),
    "monai DynUNet": (
        _monai("DynUNet", spatial_dims=2, in_channels=1, out_channels=2, filters=(8, 16, 32),
               kernel_size=(3, 3, 3), strides=(1, 2, 2), upsample_kernel_size=(2, 2)),
        (1, 1, 64, 64),
    ),
    "monai AttentionUnet": (
        _monai("AttentionUnet", spatial_dims=2, in_channels=1, out_channels=2,
               channels=(8, 16, 32), strides=(2, 2)),
        (1, 1, 64, 64),
    ),
    "monai SegResNet": (
        _monai("SegResNet", spatial_dims=2, in_channels=1, out_channels=2), (1, 1, 64, 64)
    ),
    "monai VNet": (_monai("VNet", spatial_dims=2, in_channels=1, out_channels=2), (1, 1, 64, 64)),
    "monai BasicUNet": (
        _monai("BasicUNet", spatial_dims=3, in_channels=1, out_channels=2,
               features=(8, 8, 16, 32, 32, 8)),
        (1, 1, 32, 32, 32),
    ),
    "monai HighResNet": (
        _monai("HighResNet", spatial_dims=2, in_channels=1, out_channels=2), (1, 1, 64, 64)
    ),
    "monai UNETR": (
        _monai("UNETR", in_channels=1, out_channels=2, img_size=(32, 32), feature_size=8,
               hidden_size=48, mlp_dim=96, num_heads=4, spatial_dims=2),
        (1, 1, 32, 32),
    ),
    "pytorchcv resnet10": (_cv("resnet10"), LARGE),
    "pytorchcv preresnet18": (_cv("preresnet18"), LARGE),
    "pytorchcv seresnet10": (_cv("seresnet10"), LARGE),
    "pytorchcv bagnet9": (_cv("bagnet9"), LARGE),
    "pytorchcv diracnet18v2": (_cv("diracnet18v2"), LARGE),
    "pytorchcv igcv3_wd4": (_cv("igcv3_wd4"), LARGE),
    "pytorchcv menet108_8x1_g3": (_cv("menet108_8x1_g3"), LARGE),
    "pytorchcv darknet_tiny": (_cv("darknet_tiny"), LARGE),
    "kornia HardNet": (_new("kornia.feature:HardNet", pretrained=False), (1, 1, 32, 32)),
    "kornia SOSNet": (_new("kornia.feature:SOSNet", pretrained=False), (1, 1, 32, 32)),
    "kornia HyNet": (_new("kornia.feature:HyNet", pretrained=False), (1, 1, 32, 32)),
    "kornia KeyNet": (_new("kornia.feature:KeyNet", pretrained=False), (1, 1, 64, 64)),
    "kornia DISK": (_new("kornia.feature:DISK"), RGB),
    "kornia ALIKED": (_new("kornia.feature:ALIKED"), RGB),
    "braindecode EEGNet": (_brain("EEGNet"), (1, 22, 1000)),
    "braindecode ShallowFBCSPNet": (
        _brain("ShallowFBCSPNet", final_conv_length="auto"), (1, 22, 1000)
    ),
    "braindecode Deep4Net": (_brain("Deep4Net", final_conv_length="auto"), (1, 22, 1000)),
    "braindecode EEGConformer": (_brain("EEGConformer"), (1, 22, 1000)),
    "braindecode ATCNet": (_brain("ATCNet", sfreq=250), (1, 22, 1000)),
    "spandrel ESRGAN": (
        _new("spandrel.architectures.ESRGAN:ESRGAN", num_filters=8, num_blocks=2), RGB
    ),
    "spandrel Compact": (
        _new("spandrel.architectures.Compact.__arch.SRVGG:SRVGGNetCompact", num_feat=8, num_conv=4),
        RGB,
    ),
    "spandrel SwinIR": (
        _new("spandrel.architectures.SwinIR:SwinIR", img_size=32, embed_dim=12, depths=(2, 2),
             num_heads=(2, 2), window_size=4),
        (1, 3, 32, 32),
    ),
    "spandrel SPAN": (
        _new("spandrel.architectures.SPAN:SPAN", num_in_ch=3, num_out_ch=3, feature_channels=8), RGB
    ),
    "spandrel PLKSR": (_new("spandrel.architectures.PLKSR:PLKSR", dim=16, n_blocks=2), RGB),
    "doctr linknet_resnet18": (
        _new("doctr.models.detection:linknet_resnet18", pretrained=False,
             pretrained_backbone=False),
        RGB,
    ),
    "doctr db_mobilenet_v3_large": (
        _new("doctr.models.detection:db_mobilenet_v3_large", pretrained=False,
             pretrained_backbone=False),
        RGB,
    ),
    "doctr fast_tiny": (
        _new("doctr.models.detection:fast_tiny", pretrained=False, pretrained_backbone=False), RGB
    ),
    "doctr crnn_mobilenet_v3_small": (
        _new("doctr.models.recognition:crnn_mobilenet_v3_small", pretrained=False,
             pretrained_backbone=False),
        (1, 3, 32, 128),
    ),
    "timm fastvit_t8": (_timm("fastvit_t8"), RGB),
    "timm efficientvit_b0": (_timm("efficientvit_b0"), RGB),
    "timm ghostnetv2_100": (_timm("ghostnetv2_100"), RGB),
    "timm starnet_s1": (_timm("starnet_s1"), RGB),
    "timm repghostnet_050": (_timm("repghostnet_050"), RGB),
    "transformers Segformer": (
        _hugging("SegformerForSemanticSegmentation", "SegformerConfig", depths=[1, 1, 1, 1],
                 hidden_sizes=[16, 32, 40, 64], num_attention_heads=[1, 2, 5, 8]),
        RGB,
    ),
    "transformers DINOv2": (
        _hugging("Dinov2Model", "Dinov2Config", **TINY, image_size=64, patch_size=8), RGB
    ),
    "transformers ConvNeXt V2": (
        _hugging("ConvNextV2Model", "ConvNextV2Config", depths=[1, 1, 2, 1],
                 hidden_sizes=[16, 32, 48, 64]),
        RGB,
    ),
    "transformers Swin V2": (
        _hugging("Swinv2Model", "Swinv2Config", image_size=64, embed_dim=16, depths=[2, 2],
                 num_heads=[1, 2], window_size=4),
        RGB,
    ),
    "transformers MobileViT": (_hugging("MobileViTModel", "MobileViTConfig"), RGB),
    "transformers RegNet": (
        _hugging("RegNetModel", "RegNetConfig", hidden_sizes=[16, 32, 48, 96], depths=[1, 1, 2, 1],
                 groups_width=16, embedding_size=8),
        RGB,
    ),
    "transformers PVT V2": (
        _hugging("PvtV2Model", "PvtV2Config", depths=[1, 1, 1, 1], hidden_sizes=[16, 32, 40, 64]),
        RGB,
    ),
    "transformers DPT": (
        _hugging("DPTForDepthEstimation", "DPTConfig", **TINY | {"num_hidden_layers": 4},
                 image_size=64, patch_size=16, backbone_out_indices=[0, 1, 2, 3],
                 neck_hidden_sizes=[8, 16, 32, 32], fusion_hidden_size=16),
        RGB,
    ),
    "transformers YOLOS": (
        _hugging("YolosModel", "YolosConfig", **TINY, image_size=[64, 64]), RGB
    ),
    "diffusers UNet2D": (
        _new("diffusers:UNet2DModel", sample_size=32, **DIFFUSION), (RGB, (1,))
    ),
    "diffusers AutoencoderKL": (_new("diffusers:AutoencoderKL", **CODER), RGB),
    "diffusers VQModel": (_new("diffusers:VQModel", **CODER), RGB),
    "efficientnet_pytorch B0": (
        _new("efficientnet_pytorch:EfficientNet.from_name", "efficientnet-b0"), RGB
    ),
    "pretrainedmodels xception": (
        _new("pretrainedmodels:xception", pretrained=None), (1, 3, 128, 128)
    ),
    "pretrainedmodels bninception": (
        _new("pretrainedmodels:bninception", pretrained=None), (1, 3, 224, 224)
    ),
    "vit_pytorch SimpleViT": (_new("vit_pytorch:SimpleViT", **VIT), RGB),
    "vit_pytorch CvT": (
        _new("vit_pytorch.cvt:CvT", num_classes=10, s1_emb_dim=16, s2_emb_dim=32, s3_emb_dim=32,
             s3_depth=1),
        RGB,
    ),
    "vit_pytorch CCT": (_new("vit_pytorch.cct:cct_2", img_size=64, num_classes=10), RGB),
    "nnU-Net PlainConvUNet": (_nnunet("PlainConvUNet", n_conv_per_stage=2), (1, 1, 64, 64)),
    "nnU-Net ResidualEncoderUNet": (
        _nnunet("ResidualEncoderUNet", n_blocks_per_stage=1), (1, 1, 64, 64)
    ),
}  # fmt: skip


class _TookTooLongError(Exception):
    pass


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Stop what takes longer, where Python code runs."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _TookTooLongError(f"took more than {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def row_of(name: str, time_limit: float) -> dict[str, object]:
    """Return the row of one model; a model that is refused has the reason in it."""
    make, shape = MODELS[name]
    row: dict[str, object] = dict.fromkeys(COLUMNS, "") | {"model": name}
    row["library"] = name.split(maxsplit=1)[0]
    with contextlib.redirect_stdout(io.StringIO()):
        model = make().eval()
    begin = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with _at_most(4 * time_limit):
                graph = create_graph_from_pytorch_model(model, input_res=shape)
        except (RFAError, _TookTooLongError) as error:
            return row | {"read": "refused", "notes": str(error)[:300]}
    row["seconds"] = round(time.perf_counter() - begin, 1)
    stopped = [str(one.message) for one in caught if "followed to its end" in str(one.message)]
    known = [node.certainty for node in graph.all_layers]
    row |= {"read": "partial" if stopped else "whole", "nodes": len(known)}
    row |= {one: known.count(one) for one in ("exact", "bound", "unknown")}
    notes = [one.split("end: ", 1)[1].split(". The graph")[0] for one in stopped]
    notes += list(dict.fromkeys(_unknown(graph.all_layers)))[:2]
    notes += _verified(model, shape, row, time_limit)
    return row | {"notes": _without_folders("; ".join(notes))[:400]}


def _without_folders(text: str) -> str:
    """Return a text without the folders in which libraries are installed here."""
    for folder in sorted(filter(None, sys.path), key=len, reverse=True):
        text = text.replace(f"{folder}/", "")
    return text


def _unknown(nodes: Any) -> Iterator[str]:
    """Yield why the first layers of those that are unknown are."""
    for node in nodes:
        before = {one.certainty for one in node.predecessors}
        if node.certainty == "unknown" and "unknown" not in before:
            yield f"{node.name}: {node.certainty_reason}"


def _verified(model: Any, shape: Any, row: dict[str, object], time_limit: float) -> list[str]:
    """Enter what an experiment says of the graph; return what to note of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _at_most(4 * time_limit):
                report = verify(model, shape, time_limit=time_limit)
        except (RFAError, _TookTooLongError) as error:
            return [f"not verified: {str(error)[:200]}"]
    row |= judged(report.counts)
    differ = [f"{one.name}: {one.reason}" for one in report.disagreements[:2]]
    return differ + not_measured(report)


SHOWN = (*COLUMNS[:1], *COLUMNS[2:10], "notes")
MARK = "<!-- {} -->\n"


def tables_into(page: Path, tables: Mapping[str, Path]) -> None:
    """Write tables of results into a page, between the marks of their names."""
    text = page.read_text()
    for name, path in tables.items():
        mark = MARK.format(name)
        before, _, rest = text.partition(mark)
        _, _, after = rest.partition(mark)
        rows = list(csv.DictReader(path.open()))
        shown = [one for one in SHOWN if one in rows[0]]
        lines = ["| " + " | ".join(shown) + " |", "|" + "---|" * len(shown)]
        lines += [
            "| " + " | ".join(row[one].replace("|", "/") for one in shown) + " |" for row in rows
        ]
        text = before + mark + "\n".join(lines) + "\n" + mark + after
    page.write_text(text)


def main() -> int:
    """Read the models that the table does not have yet; return 1 if any node differs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--install", type=Path, help="a folder to install the libraries into")
    parser.add_argument("--packages", type=Path, help="a folder where they are installed")
    parser.add_argument("--only", nargs="*", default=[""], help="models whose names begin so")
    parser.add_argument("--time-limit", type=float, default=30, help="seconds for an experiment")
    parser.add_argument("--page", type=Path, help="a page to write this table, and others, into")
    parser.add_argument("--keras", type=Path, help="the table of benchmarks/keras_zoo.py, for it")
    options = parser.parse_args()
    if options.install:
        installed(options.install, (*LIBRARIES, *NEEDED))
    where = options.install or options.packages
    if where:
        sys.path.append(str(where))  # behind what is installed already
    import_torchvision()
    wanted = [one for one in MODELS if one.startswith(tuple(options.only))]
    rows = continued(options.output, COLUMNS, wanted, lambda name: row_of(name, options.time_limit))
    if options.page:
        tables_into(options.page, {"PyTorch": options.output, "Keras": options.keras})
    read = sum(row["read"] == "partial" or row["unknown"] == "0" for row in rows)
    print(f"{read} of {len(rows)} models have no unknown node, or say where they stopped.")
    return int(any(row["differs"] not in ("", "0") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
