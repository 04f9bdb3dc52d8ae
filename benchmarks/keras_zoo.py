"""Read live Keras models of foreign libraries, verify them, and write a table with a row for each.

    python benchmarks/keras_zoo.py --install zoo_packages --output docs/foreign_keras_models.csv
    python benchmarks/keras_zoo.py --packages zoo_packages --output zoo.csv --only "hub Swin"

The libraries are installed into a folder of their own, without what they depend on, which would be
another framework. Models are small, or have few layers, and random weights. Rows are written as
they come, and models that the table has are left out.
"""

# ruff: noqa: C408 options read best as they are passed
from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("KECAM_BACKEND", "keras")
os.environ.setdefault("SM_FRAMEWORK", "keras")

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.foreign_table import continued, installed, judged, not_measured
from rfa_toolbox import create_graph_from_tensorflow_model
from rfa_toolbox.empirical import verify
from rfa_toolbox.errors import RFAError

PACKAGES = (
    *("keras-hub", "keras-cv-attention-models", "keras-tcn", "kagglehub", "kagglesdk"),
    *("segmodels-keras", "medicai", "absl-py", "regex", "tokenizers", "sentencepiece", "ftfy"),
    *("wcwidth", "tqdm", "pillow", "scipy", "requests", "urllib3", "certifi", "idna"),
)

COLUMNS = (
    *("model", "nodes", "exact", "bound", "unknown", "agrees", "not measured", "differs"),
    *("seconds", "notes"),
)

TEXT = dict(vocabulary_size=100, num_layers=2, num_heads=2, hidden_dim=32, intermediate_dim=64)
DECODER = dict(
    vocabulary_size=100, num_layers=2, num_query_heads=4, num_key_value_heads=2, hidden_dim=32,
    intermediate_dim=64,
)  # fmt: skip
GEMMA = DECODER | {"head_dim": 8}
MIT = dict(
    image_shape=(64, 64, 3), num_layers=4, hidden_dims=[16, 32, 48, 64],
    layerwise_depths=[1, 1, 1, 1], layerwise_num_heads=[1, 2, 3, 4],
    layerwise_sr_ratios=[8, 4, 2, 1], layerwise_patch_sizes=[7, 3, 3, 3],
    layerwise_strides=[4, 2, 2, 2], max_drop_path_rate=0.1,
)  # fmt: skip
RESNET = dict(
    input_conv_filters=[64], input_conv_kernel_sizes=[7], stackwise_num_filters=[64, 16, 32, 64],
    stackwise_num_blocks=[1, 1, 1, 1], stackwise_num_strides=[1, 2, 2, 2],
    block_type="basic_block",
)  # fmt: skip
VIT = dict(
    image_shape=(32, 32, 3), patch_size=8, num_layers=2, num_heads=2, hidden_dim=32,
)  # fmt: skip
HGNET = dict(
    depths=[1, 2], embedding_size=16, hidden_sizes=[16, 32], stem_channels=[3, 8, 16],
    hidden_act="relu", use_learnable_affine_block=False,
    stackwise_stage_filters=[[16, 8, 16, 1, 1, 3], [16, 8, 32, 2, 1, 3]],
    apply_downsample=[False, True], use_lightweight_conv_block=[False, False],
)  # fmt: skip
EFFICIENT = dict(
    stackwise_kernel_sizes=[3, 3, 5], stackwise_num_repeats=[1, 2, 2],
    stackwise_input_filters=[8, 16, 24], stackwise_output_filters=[16, 24, 32],
    stackwise_expansion_ratios=[1, 4, 6], stackwise_strides=[1, 2, 2],
    stackwise_squeeze_and_excite_ratios=[0.25, 0.25, 0.25],
    stackwise_block_types=["v1", "unfused", "fused"], width_coefficient=1.0,
    depth_coefficient=1.0,
)  # fmt: skip
MOBILENET = dict(
    stackwise_expansion=[[16], [64, 144], [72]], stackwise_num_blocks=[1, 2, 1],
    stackwise_num_filters=[[16], [24, 24], [24]], stackwise_kernel_size=[[3], [5, 5], [5]],
    stackwise_num_strides=[[2], [2, 1], [1]], stackwise_se_ratio=[[None], [0.25, 0.25], [0.3]],
    stackwise_activation=[["relu"], ["hard_swish", "hard_swish"], ["hard_swish"]],
    stackwise_padding=[[1], [2, 2], [2]], output_num_filters=64, depthwise_filters=8,
    depthwise_stride=2, depthwise_residual=False, last_layer_filter=64, squeeze_and_excite=0.5,
    input_activation="hard_swish", output_activation="hard_swish", input_num_filters=16,
    image_shape=(64, 64, 3),
)  # fmt: skip


def _hub(name: str, **options: Any) -> Callable[[], Any]:
    return lambda: getattr(importlib.import_module("keras_hub").models, name)(**options)


def _on(name: str, inner: Callable[[], Any], **options: Any) -> Callable[[], Any]:
    def made() -> Any:
        return _hub(name, image_encoder=inner(), **options)()

    return made


def _kecam(room: str, name: str, size: int = 64, **options: Any) -> Callable[[], Any]:
    def made() -> Any:
        sys.modules.setdefault("keras_core", importlib.import_module("keras"))
        library = importlib.import_module("keras_cv_attention_models")
        shape = (size, size, 3)
        maker = getattr(getattr(library, room), name)
        with contextlib.redirect_stdout(io.StringIO()):
            return maker(pretrained=None, input_shape=shape, **options)

    return made


def _segmodels(name: str, encoder: str = "resnet18", size: int = 64) -> Callable[[], Any]:
    options = dict(input_shape=(size, size, 3), encoder_weights=None)
    return lambda: getattr(importlib.import_module("segmodels_keras"), name)(encoder, **options)


def _medicai(name: str, encoder: str, *sizes: int, **options: Any) -> Callable[[], Any]:
    known = dict(input_shape=(*(sizes or (64, 64)), 3), encoder_name=encoder, num_classes=2)
    models = "medicai.models"
    return lambda: getattr(importlib.import_module(models), name)(**known | options)


def _tcn() -> Any:
    keras = importlib.import_module("keras")
    tcn = importlib.import_module("tcn")
    steps = keras.Input((100, 4))
    return keras.Model(steps, tcn.TCN(8, 3, dilations=(1, 2, 4), return_sequences=True)(steps))


resnet, mit = _hub("ResNetBackbone", **RESNET), _hub("MiTBackbone", **MIT)
CSP = dict(
    stem_filters=16, stem_kernel_size=3, stem_strides=1, stackwise_depth=[1, 2],
    stackwise_strides=[1, 2], stackwise_num_filters=[16, 32],
)  # fmt: skip
MODELS: dict[str, Callable[[], Any]] = {
    "hub ResNet": resnet,
    "hub ResNet bottleneck": _hub("ResNetBackbone", **RESNET | {"block_type": "bottleneck_block"}),
    "hub ResNet V2": _hub("ResNetBackbone", **RESNET, use_pre_activation=True),
    "hub ResNet vd": _hub("ResNetBackbone", **RESNET | {"block_type": "basic_block_vd"}),
    "hub DenseNet": _hub("DenseNetBackbone", stackwise_num_repeats=[1, 2, 2], growth_rate=8),
    "hub VGG": _hub("VGGBackbone", stackwise_num_repeats=[1, 2], stackwise_num_filters=[8, 16]),
    "hub Xception": _hub(
        "XceptionBackbone",
        stackwise_conv_filters=[[8, 16], [16, 16], [32, 32]],
        stackwise_pooling=[True, True, False],
    ),
    "hub EfficientNet": _hub("EfficientNetBackbone", **EFFICIENT),
    "hub MobileNet": _hub("MobileNetBackbone", **MOBILENET),
    "hub CSPNet dark": _hub("CSPNetBackbone", **CSP, block_type="dark_block", stage_type="dark"),
    "hub CSPNet edge": _hub("CSPNetBackbone", **CSP, block_type="edge_block", stage_type="dark"),
    "hub HGNetV2": _hub("HGNetV2Backbone", **HGNET),
    "hub MiT": mit,
    "hub SegFormer": _on("SegFormerBackbone", mit, projection_filters=16),
    "hub DeepLabV3": _on(
        "DeepLabV3Backbone",
        resnet,
        projection_filters=8,
        low_level_feature_key="P2",
        spatial_pyramid_pooling_key="P4",
        upsampling_size=4,
        dilation_rates=[6, 12],
        image_shape=(64, 64, 3),
    ),
    "hub RetinaNet": _on(
        "RetinaNetBackbone",
        resnet,
        min_level=3,
        max_level=5,
        use_p5=False,
        image_shape=(256, 256, 3),
    ),
    "hub ViT": _hub("ViTBackbone", **VIT, mlp_dim=64),
    "hub DeiT": _hub("DeiTBackbone", **VIT, intermediate_dim=64),
    "hub DINOV2": _hub("DINOV2Backbone", **VIT, intermediate_dim=64),
    "hub DINOV3": _hub("DINOV3Backbone", **VIT, intermediate_dim=64),
    "hub ViTDet": _hub(
        "ViTDetBackbone",
        image_shape=(64, 64, 3),
        patch_size=8,
        hidden_size=32,
        num_layers=2,
        intermediate_dim=64,
        num_heads=2,
        global_attention_layer_indices=[1],
        window_size=2,
        num_output_channels=16,
    ),
    "hub Swin": _hub(
        "SwinTransformerBackbone",
        image_shape=(64, 64, 3),
        embed_dim=16,
        depths=(2, 2),
        num_heads=(1, 2),
        window_size=4,
    ),
    "hub BERT": _hub("BertBackbone", **TEXT),
    "hub ALBERT": _hub("AlbertBackbone", **TEXT, embedding_dim=16),
    "hub RoBERTa": _hub("RobertaBackbone", **TEXT),
    "hub XLM-RoBERTa": _hub("XLMRobertaBackbone", **TEXT),
    "hub DistilBERT": _hub("DistilBertBackbone", **TEXT),
    "hub DeBERTaV3": _hub("DebertaV3Backbone", **TEXT),
    "hub ELECTRA": _hub(
        "ElectraBackbone",
        vocab_size=100,
        embedding_dim=16,
        **{key: one for key, one in TEXT.items() if key != "vocabulary_size"},
    ),
    "hub F-Net": _hub(
        "FNetBackbone", **{key: one for key, one in TEXT.items() if key != "num_heads"}
    ),
    "hub XLNet": _hub("XLNetBackbone", **TEXT),
    "hub RoFormerV2": _hub("RoformerV2Backbone", **TEXT, head_size=16),
    "hub ESM": _hub("ESMBackbone", **TEXT),
    "hub BART": _hub("BartBackbone", **TEXT),
    "hub T5": _hub("T5Backbone", **TEXT),
    "hub GPT-2": _hub("GPT2Backbone", **TEXT),
    "hub GPT-NeoX": _hub("GPTNeoXBackbone", **TEXT),
    "hub OPT": _hub("OPTBackbone", **TEXT),
    "hub BLOOM": _hub("BloomBackbone", **TEXT),
    "hub Falcon": _hub(
        "FalconBackbone",
        vocabulary_size=100,
        num_layers=2,
        num_attention_heads=2,
        hidden_dim=32,
        intermediate_dim=128,
    ),
    "hub Llama": _hub("LlamaBackbone", **DECODER),
    "hub Mistral": _hub("MistralBackbone", **DECODER),
    "hub Phi-3": _hub("Phi3Backbone", **DECODER),
    "hub Qwen 2": _hub("Qwen2Backbone", **DECODER),
    "hub Gemma": _hub("GemmaBackbone", **GEMMA),
    "hub Whisper": _hub("WhisperBackbone", **TEXT, num_mels=16),
    "keras-tcn": _tcn,
    "kecam BEiT": _kecam("beit", "BeitBasePatch16", 64),
    "kecam BotNet26T": _kecam("botnet", "BotNet26T"),
    "kecam CMT Tiny": _kecam("cmt", "CMTTiny"),
    "kecam CoAtNet0": _kecam("coatnet", "CoAtNet0"),
    "kecam ConvNeXt Tiny": _kecam("convnext", "ConvNeXtTiny"),
    "kecam ConvNeXtV2 Atto": _kecam("convnext", "ConvNeXtV2Atto"),
    "kecam CoTNet50": _kecam("cotnet", "CotNet50"),
    "kecam DaViT T": _kecam("davit", "DaViT_T"),
    "kecam EdgeNeXt XX": _kecam("edgenext", "EdgeNeXt_XX_Small"),
    "kecam EfficientFormer L1": _kecam("efficientformer", "EfficientFormerL1"),
    "kecam EfficientNetV2 B0": _kecam("efficientnet", "EfficientNetV2B0"),
    "kecam EfficientViT B0": _kecam("efficientvit", "EfficientViT_B0"),
    "kecam FasterNet T0": _kecam("fasternet", "FasterNetT0"),
    "kecam GCViT XXTiny": _kecam("gcvit", "GCViT_XXTiny"),
    "kecam GhostNet": _kecam("ghostnet", "GhostNet100"),
    "kecam HaloNet H0": _kecam("halonet", "HaloNetH0"),
    "kecam HorNet Tiny": _kecam("hornet", "HorNetTiny"),
    "kecam InceptionNeXt Tiny": _kecam("inceptionnext", "InceptionNeXtTiny"),
    "kecam LCNet050": _kecam("mobilenetv3_family", "LCNet050"),
    "kecam LeViT 128S": _kecam("levit", "LeViT128S"),
    "kecam MLP-Mixer S16": _kecam("mlp_family", "MLPMixerS16"),
    "kecam gMLP Tiny": _kecam("mlp_family", "GMLPTiny16"),
    "kecam ResMLP12": _kecam("mlp_family", "ResMLP12"),
    "kecam MobileViT XXS": _kecam("mobilevit", "MobileViT_XXS"),
    "kecam MogaNet XTiny": _kecam("moganet", "MogaNetXtiny"),
    "kecam PVTv2 B0": _kecam("pvt", "PVT_V2B0"),
    "kecam RepViT M09": _kecam("repvit", "RepViT_M09"),
    "kecam ResNeSt50": _kecam("resnest", "ResNest50"),
    "kecam RegNetY 040": _kecam("resnet_family", "RegNetY040"),
    "kecam ResNeXt50": _kecam("resnet_family", "ResNeXt50"),
    "kecam Swin V2 Tiny": _kecam("swin_transformer_v2", "SwinTransformerV2Tiny_window8", 256),
    "kecam TinyViT 5M": _kecam("tinyvit", "TinyViT_5M", 224),
    "kecam UniFormer Small": _kecam("uniformer", "UniformerSmall32"),
    "kecam VanillaNet5": _kecam("vanillanet", "VanillaNet5"),
    "kecam YOLOV8 N": _kecam("yolov8", "YOLOV8_N"),
    "kecam YOLOX Nano": _kecam("yolox", "YOLOXNano"),
    "kecam EfficientDet Lite0": _kecam("efficientdet", "EfficientDetLite0"),
    "segmodels Unet": _segmodels("Unet"),
    "segmodels Unet EfficientNet": _segmodels("Unet", "efficientnetb0"),
    "segmodels Unet MobileNetV2": _segmodels("Unet", "mobilenetv2"),
    "segmodels Unet VGG16": _segmodels("Unet", "vgg16"),
    "segmodels FPN": _segmodels("FPN"),
    "segmodels Linknet": _segmodels("Linknet"),
    "segmodels PSPNet": _segmodels("PSPNet", size=96),
    "medicai UNet": _medicai("UNet", "resnet18"),
    "medicai UNet in 3 dimensions": _medicai("UNet", "resnet18", 32, 32, 32),
    "medicai AttentionUNet": _medicai("AttentionUNet", "resnet18"),
    "medicai UNetPlusPlus": _medicai("UNetPlusPlus", "resnet18"),
    "medicai DeepLabV3Plus": _medicai("DeepLabV3Plus", "resnet18"),
    "medicai UPerNet": _medicai("UPerNet", "resnet18"),
    "medicai SegFormer": _medicai("SegFormer", "mit_b0"),
    "medicai TransUNet": _medicai("TransUNet", "densenet121"),
}


def row_of(name: str, verifies: bool, time_limit: float) -> dict[str, object]:
    """Return the row of one model."""
    row: dict[str, object] = dict.fromkeys(COLUMNS, "")
    row["model"] = name
    model = MODELS[name]()
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            nodes = create_graph_from_tensorflow_model(model).all_layers
        except RFAError as error:
            return row | {"notes": str(error)}
        known = [node.certainty for node in nodes]
        row |= {"nodes": len(nodes), "seconds": round(time.perf_counter() - begin, 1)}
        row |= {one: known.count(one) for one in ("exact", "bound", "unknown")}
        row["notes"] = "; ".join(list(dict.fromkeys(_unknown(nodes)))[:3])
        if verifies:
            try:
                report = verify(model, time_limit=time_limit)
                row |= judged(report.counts)
                row["notes"] = "; ".join(filter(None, (row["notes"], *not_measured(report))))[:300]
            except RFAError as error:
                row["notes"] = f"not verified: {error}"[:200]
    return row


def _unknown(nodes: Any) -> Iterator[str]:
    """Yield why the first layers of those that are unknown are."""
    for node in nodes:
        before = {one.certainty for one in node.predecessors}
        if node.certainty == "unknown" and "unknown" not in before:
            yield f"{node.name}: {node.certainty_reason}"


def main() -> int:
    """Read the models that the table does not have yet; return 1 if any node differs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--install", type=Path, help="a folder to install the libraries into")
    parser.add_argument("--packages", type=Path, help="a folder where they are installed")
    parser.add_argument("--only", nargs="*", default=[""], help="models whose names begin so")
    parser.add_argument("--no-verify", action="store_true")
    parser.add_argument("--time-limit", type=float, default=60, help="seconds for an experiment")
    options = parser.parse_args()
    if options.install:
        installed(options.install, PACKAGES)
    where = options.install or options.packages
    if where:
        sys.path.append(str(where))  # behind what is installed already
    wanted = [one for one in MODELS if one.startswith(tuple(options.only))]
    rows = continued(
        options.output,
        COLUMNS,
        wanted,
        lambda name: row_of(name, not options.no_verify, options.time_limit),
    )
    read = sum(row["unknown"] == "0" for row in rows)
    print(f"{read} of {len(rows)} models have no unknown node.")
    return int(any(row["differs"] not in ("", "0") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
