"""The models that analysis and experiment are compared on, by family of architecture.

One model of every family runs in the tests, if it takes seconds; the others run by
``benchmarks/verify_zoo.py``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

from tests.frameworks import import_torchvision, keras_application

_TESTS = Path(__file__).parents[1]
TORCHVISION = (_TESTS / "pytorch" / "data" / "torchvision_models.txt").read_text().split()
FAMILIES = (_TESTS / "pytorch" / "data" / "torchvision_families.txt").read_text().split()
"""The smallest of every family of torchvision."""

KERAS = (_TESTS / "keras" / "data" / "applications.txt").read_text().split()

TIMM_FAMILIES: dict[str, str] = {
    "VGG": "vgg11_bn vgg19",
    "ResNet": "resnet18 resnet26t resnet50 resnet14t resnet101 resnet152",
    "ResNet, other stems and shortcuts": "resnet34d resnet50c resnet50s wide_resnet50_2",
    "ResNet, anti-aliased": "resnetaa34d resnetblur18 resnetblur50d resnetaa50",
    "ResNet, squeeze and excitation": "seresnet18 seresnet50 legacy_seresnet18 legacy_senet154",
    "ResNet, efficient channel attention": "ecaresnet26t ecaresnet50d ecaresnetlight",
    "ResNet-RS": "resnetrs50 resnetrs101",
    "ResNeXt": "resnext26ts resnext50_32x4d seresnext26d_32x4d resnext101_32x4d",
    "ResNetV2": "resnetv2_18 resnetv2_50 resnetv2_50x1_bit resnetv2_50d_gn resnetv2_50d_frn",
    "ResNet, global context and other gates": "gcresnet33ts gcresnext26ts",
    "ResNet of CLIP": "resnet50_clip_gap",
    "Res2Net": "res2net50_26w_4s res2net50_14w_8s res2next50",
    "ResNeSt": "resnest14d resnest26d resnest50d_4s2x40d",
    "SKNet": "skresnet18 skresnet50 skresnext50_32x4d",
    "TResNet": "tresnet_m",
    "DenseNet": "densenet121 densenetblur121d densenet161",
    "RDNet": "rdnet_tiny",
    "DPN": "dpn48b dpn68 dpn92",
    "DLA": "dla34 dla46_c dla60 dla60_res2net dla60x_c",
    "Inception": "inception_v3 inception_v4 inception_resnet_v2",
    "Xception": "legacy_xception xception41 xception41p xception65",
    "NASNet": "nasnetalarge",
    "PNASNet": "pnasnet5large",
    "MobileNetV1": "mobilenetv1_100 mobilenetv1_100h mobilenetv1_125",
    "MobileNetV2": "mobilenetv2_050 mobilenetv2_100 mobilenetv2_110d mobilenetv2_140",
    "MobileNetV3": "mobilenetv3_small_050 mobilenetv3_large_100 mobilenetv3_rw",
    "MobileNetV3 of TensorFlow": "tf_mobilenetv3_small_075 tf_mobilenetv3_large_minimal_100",
    "MobileNetV4": "mobilenetv4_conv_small mobilenetv4_conv_aa_medium mobilenetv4_hybrid_medium",
    "LCNet and TinyNet": "lcnet_050 lcnet_100 tinynet_a tinynet_e",
    "MNASNet": "mnasnet_small mnasnet_100 semnasnet_075 spnasnet_100",
    "FBNet": "fbnetc_100 fbnetv3_b fbnetv3_d",
    "HardCoRe-NAS": "hardcorenas_a hardcorenas_f",
    "EfficientNet": "efficientnet_lite0 efficientnet_b0 efficientnet_b1 efficientnet_es",
    "EfficientNet, grouped or conditional": "efficientnet_cc_b0_4e efficientnet_b3_gn",
    "EfficientNet of TensorFlow": "tf_efficientnet_lite0 tf_efficientnet_b0 tf_efficientnet_es",
    "EfficientNetV2": "efficientnetv2_rw_t efficientnetv2_s tf_efficientnetv2_b0",
    "MixNet": "mixnet_s mixnet_l tf_mixnet_s",
    "GhostNet": "ghostnet_050 ghostnet_100 ghostnetv2_100 ghostnetv3_050",
    "RepGhost": "repghostnet_050 repghostnet_100",
    "RegNetX": "regnetx_002 regnetx_004 regnetx_016",
    "RegNetY": "regnety_002 regnety_004 regnety_016 regnetv_040",
    "RegNetZ": "regnetz_005 regnetz_b16 regnetz_c16",
    "RepVGG": "repvgg_a0 repvgg_a1 repvgg_b0 repvgg_d2se",
    "MobileOne": "mobileone_s0 mobileone_s1 mobileone_s4",
    "GENet": "gernet_s gernet_m",
    "CSPNet": "cspresnet50 cspresnext50 cspdarknet53 cs3darknet_focus_s cs3sedarknet_l",
    "DarkNet": "darknet17 darknet53 sedarknet21 darknetaa53",
    "VoVNet": "ese_vovnet19b_slim_dw vovnet39a ese_vovnet19b_dw eca_vovnet39b",
    "HRNet": "hrnet_w18_small hrnet_w18 hrnet_w18_ssld",
    "SelecSLS": "selecsls42 selecsls60",
    "HGNet": "hgnetv2_b0 hgnet_tiny hgnetv2_b2",
    "ReXNet": "rexnet_100 rexnetr_100 rexnet_150",
    "NFNet": "nfnet_l0 dm_nfnet_f0 nf_resnet50 nf_regnet_b1 eca_nfnet_l0 nf_seresnet26",
    "ConvNeXt": "convnext_atto convnext_atto_ols convnext_tiny convnext_tiny_hnf convnext_nano",
    "ConvNeXt V2": "convnextv2_atto convnextv2_tiny",
    "InceptionNeXt": "inception_next_atto inception_next_tiny",
    "ConvMixer": "convmixer_768_32 convmixer_1024_20_ks9_p14",
    "PoolFormer": "poolformer_s12 poolformerv2_s12 poolformer_s24",
    "ConvFormer": "convformer_s18",
    "FasterNet": "fasternet_t0 fasternet_t1",
    "StarNet": "starnet_s050 starnet_s1 starnet_s3",
    "RepViT": "repvit_m0_9 repvit_m1",
    "FocalNet": "focalnet_tiny_srf focalnet_tiny_lrf",
    "MambaOut": "mambaout_femto mambaout_tiny",
    "FastViT": "fastvit_t8 fastvit_t12",
    "EdgeNeXt": "edgenext_xx_small edgenext_small",
    "Dilated": "resnet18:output_stride=8 resnet50:output_stride=16 resnetv2_50:output_stride=8 "
    "xception65:output_stride=8 mobilenetv2_100:output_stride=16 "
    "efficientnet_b0:output_stride=8 "
    "regnety_004:output_stride=8 nf_resnet50:output_stride=8 convnext_atto:output_stride=16",
    "Gates opened": "seresnet18:gates=opened seresnet50:gates=opened skresnet18:gates=opened "
    "gcresnet33ts:gates=opened ecaresnet26t:gates=opened resnest14d:gates=opened "
    "mobilenetv3_small_050:gates=opened efficientnet_b0:gates=opened ghostnet_050:gates=opened "
    "regnety_002:gates=opened rexnet_100:gates=opened hardcorenas_a:gates=opened",
    "Gates counted": "seresnet18:gates=counted mobilenetv3_small_050:gates=counted "
    "efficientnet_b0:gates=counted skresnet18:gates=counted regnety_002:gates=counted",
}
"""Names, or name:key=value: what ``timm.create_model`` takes, or what to do with gates."""

GATES = {"opened": {"display_se_modules": True}, "counted": {"global_ops": "count"}}
"""What "gates=..." means to ``verify``."""

TIMM = tuple(name for names in TIMM_FAMILIES.values() for name in names.split())
IN_TESTS = tuple(names.split()[0] for names in TIMM_FAMILIES.values())


class _WithoutRandomNumbers(TorchFunctionMode):
    """Leaves out what takes most of the time in which a large model is made."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if getattr(function, "__name__", "") in {"normal_", "uniform_", "bernoulli_"}:
            tensor = args[0] if args else kwargs["tensor"]
            tensor.detach().zero_()
            return tensor
        return function(*args, **(kwargs or {}))


def family_of(name: str) -> str:
    """Return the family of a model of timm, or the library of another one."""
    library, model = name.split(":", 1)
    if library != "timm":
        return library
    return next(
        (family for family, names in TIMM_FAMILIES.items() if model in names.split()), "timm"
    )


def options_of(name: str) -> dict[str, Any]:
    """Return what to tell ``verify`` of a model.

    >>> options_of("timm:seresnet18:gates=counted"), options_of("timm:resnet18:output_stride=8")
    ({'global_ops': 'count'}, {})
    """
    return next((GATES[one[6:]] for one in name.split(":")[2:] if one.startswith("gates=")), {})


def build(name: str) -> Any:
    """Make "torchvision:NAME", "timm:NAME:KEY=NUMBER" or "keras:NAME" with weights of no value."""
    library, model, *settings = name.split(":")
    if library == "keras":
        os.environ.setdefault("KERAS_BACKEND", "torch")
        return keras_application(model)
    torchvision = import_torchvision()
    with warnings.catch_warnings(), _WithoutRandomNumbers():
        warnings.simplefilter("ignore")
        if library == "torchvision":
            options = {"init_weights": False} if model in {"googlenet", "inception_v3"} else {}
            made: nn.Module = torchvision.models.get_model(model, weights=None, **options)
        else:
            import timm

            pairs = [one.split("=") for one in settings if not one.startswith("gates=")]
            made = timm.create_model(model, **{key: int(value) for key, value in pairs})
    return made.eval()


def spelled(names: Iterator[str] | list[str]) -> list[str]:
    """Return names with their library; families and whole libraries are spelled out.

    "timm", "torchvision" and "keras" are all of these lists, "tests" what runs in the tests.
    """
    found: list[str] = []
    for name in names:
        if name == "timm":
            found += [f"timm:{one}" for one in TIMM]
        elif name == "torchvision":
            found += [f"torchvision:{one}" for one in TORCHVISION]
        elif name == "tests":
            found += [f"timm:{one}" for one in IN_TESTS]
        elif name == "keras":
            found += [f"keras:{one}" for one in KERAS]
        elif name in TIMM_FAMILIES:
            found += [f"timm:{one}" for one in TIMM_FAMILIES[name].split()]
        elif name.split(":")[0] in {"torchvision", "timm", "keras"}:
            found.append(name)
        else:
            found.append(f"{'torchvision' if name in TORCHVISION else 'timm'}:{name}")
    return found


__all__ = [
    "FAMILIES",
    "IN_TESTS",
    "KERAS",
    "TIMM",
    "TIMM_FAMILIES",
    "TORCHVISION",
    "build",
    "family_of",
    "options_of",
    "spelled",
]
