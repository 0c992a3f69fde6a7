"""The architectures of the coverage benchmark: every family of timm and torchvision that builds a net with
convolutions.

For each module file of timm one small member, more where a file holds several kinds of network, and every
classification and segmentation network of torchvision; each at 224 x 224 pixels, or at its own size where its
forward accepts no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Architecture:
    """`name` is "timm/..." or "torchvision/...", `family` the module file, `size` the height and width of the
    input.
    """

    name: str
    family: str
    size: int


# Families whose only convolution makes patches (or that have none): plain transformers, mixers.
LEFT_OUT = tuple(
    (
        "beit cait convit deepseek_vit deit eva gemma4_vit hiera hieradet_sam2 mlp_mixer naflexvit qwen3_vit "
        "swin_transformer swin_transformer_v2 swin_transformer_v2_cr tnt vision_transformer "
        "vision_transformer_relpos vision_transformer_sam"
    ).split()
)

_TIMM = """
byoanet: halonet26t@256 botnet26t_256@256 eca_botnext26ts_256@256 lambda_resnet26t bat_resnext26ts@256
byobnet: mobileone_s1 repvgg_a0 gernet_s gcresnext26ts resnet32ts
coat: coat_tiny coat_lite_tiny
convmixer: convmixer_1024_20_ks9_p14
convnext: convnext_atto convnextv2_atto
cpubone: cpubone_nano
crossvit: crossvit_9_dagger_240
csatv2: csatv2
cspnet: cspresnet50 cspresnext50 cspdarknet53 cs3darknet_s cs3darknet_focus_s cs3sedarknet_x darknet53
cspnext: cspnext_tiny
davit: davit_tiny
densenet: densenet121 densenetblur121d
dla: dla46_c dla46x_c dla60_res2net
dpn: dpn48b dpn68
edgenext: edgenext_xx_small
efficientformer: efficientformer_l1
efficientformer_v2: efficientformerv2_s0
efficientnet: efficientnet_b0 efficientnet_lite0 mixnet_s mnasnet_small fbnetc_100 spnasnet_100
efficientnet: tinynet_e@106 mobilenetv2_050 tf_efficientnetv2_b0 efficientnet_b0_gn
efficientvim: efficientvim_m1
efficientvit_mit: efficientvit_b0
efficientvit_msra: efficientvit_m0
fasternet: fasternet_t0
fastvit: fastvit_t8 fastvit_sa12
focalnet: focalnet_tiny_srf
gcvit: gcvit_xxtiny
ghostnet: ghostnet_050 ghostnetv2_100 ghostnetv3_050
hardcorenas: hardcorenas_a
hgnet: hgnetv2_b0 hgnet_tiny
hrnet: hrnet_w18_small
iformer: iformer_t
inception_next: inception_next_atto
inception_resnet_v2: inception_resnet_v2
inception_v3: inception_v3
inception_v4: inception_v4
lcnetv2: lcnetv2_small
levit: levit_128s levit_conv_128s
lowformer: lowformer_b0
mambaout: mambaout_femto
maxxvit: maxvit_pico_rw_256@256 coatnet_nano_rw_224 maxxvit_rmlp_nano_rw_256@256
metaformer: poolformer_s12 poolformerv2_s12 convformer_s18 caformer_s18
mobilenetv3: mobilenetv3_small_050 lcnet_035 fbnetv3_b mobilenetv4_conv_small mobilenetv4_hybrid_medium
mobilenetv5: mobilenetv5_base
mobilevit: mobilevit_xxs mobilevitv2_050
mvitv2: mvitv2_tiny
nasnet: nasnetalarge
nest: nest_tiny
nextvit: nextvit_small
nfnet: nf_regnet_b0 nf_resnet26 eca_nfnet_l0 dm_nfnet_f0
pit: pit_ti_224
pnasnet: pnasnet5large
pvt_v2: pvt_v2_b0
rdnet: rdnet_tiny
regnet: regnetx_002 regnety_002 regnetz_005 regnetv_040
repghost: repghostnet_050
repvit: repvit_m0_9
res2net: res2net50_14w_8s res2next50
resnest: resnest14d resnest26d
resnet: resnet10t resnet18 resnet50 resnext50_32x4d ecaresnet26t seresnet18 resnetblur18 resnetaa34d
resnetv2: resnetv2_18 resnetv2_50x1_bit resnetv2_50d_gn
rexnet: rexnet_100
selecsls: selecsls42
senet: legacy_seresnet18 legacy_seresnext26_32x4d
sequencer: sequencer2d_s
shvit: shvit_s1
sknet: skresnet18 skresnext50_32x4d
starnet: starnet_s050
swiftformer: swiftformer_xs
tiny_vit: tiny_vit_5m_224
tresnet: tresnet_m
twins: twins_svt_small twins_pcpvt_small
vgg: vgg11_bn
visformer: visformer_tiny
vision_transformer_hybrid: vit_tiny_r_s16_p8_224
vitamin: vitamin_small_224
volo: volo_d1_224
vovnet: ese_vovnet19b_slim_dw vovnet39a
xception: xception
xception_aligned: xception41
xcit: xcit_nano_12_p8_224
"""

_TORCHVISION = """
classification: alexnet convnext_tiny convnext_small convnext_base convnext_large densenet121 densenet161
classification: densenet169 densenet201
classification: efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4
classification: efficientnet_b5 efficientnet_b6
classification: efficientnet_b7 efficientnet_v2_s efficientnet_v2_m efficientnet_v2_l googlenet
classification: inception_v3@299 maxvit_t mnasnet0_5
classification: mnasnet0_75 mnasnet1_0 mnasnet1_3 mobilenet_v2 mobilenet_v3_small mobilenet_v3_large
classification: regnet_x_400mf
classification: regnet_x_800mf regnet_x_1_6gf regnet_x_3_2gf regnet_x_8gf regnet_x_16gf regnet_x_32gf
classification: regnet_y_400mf
classification: regnet_y_800mf regnet_y_1_6gf regnet_y_3_2gf regnet_y_8gf regnet_y_16gf regnet_y_32gf
classification: regnet_y_128gf resnet18
classification: resnet34 resnet50 resnet101 resnet152 resnext50_32x4d resnext101_32x8d resnext101_64x4d
classification: shufflenet_v2_x0_5
classification: shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0 squeezenet1_0 squeezenet1_1 swin_t
classification: swin_s swin_b
classification: swin_v2_t swin_v2_s swin_v2_b vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn
classification: vit_b_16 vit_b_32
classification: vit_l_16 vit_l_32 vit_h_14 wide_resnet50_2 wide_resnet101_2
segmentation: deeplabv3_mobilenet_v3_large deeplabv3_resnet50 deeplabv3_resnet101 fcn_resnet50 fcn_resnet101
segmentation: lraspp_mobilenet_v3_large
"""


def _parse(library: str, text: str) -> list[Architecture]:
    """Lines "family: model model@size"; 224 pixels where no size is given."""
    result = []
    for line in text.strip().splitlines():
        family, _, names = line.partition(": ")
        for entry in names.split():
            name, _, size = entry.partition("@")
            result.append(Architecture(f"{library}/{name}", family, int(size or 224)))
    return result


ARCHITECTURES = tuple(_parse("timm", _TIMM) + _parse("torchvision", _TORCHVISION))


def build(architecture: Architecture) -> nn.Module:
    """The network with its library's random initial weights."""
    from tests.torchvision_shim import missing

    library, name = architecture.name.split("/")
    if reason := missing(library):
        raise RuntimeError(reason)
    if library == "timm":
        import timm

        return timm.create_model(name, pretrained=False)
    import torchvision

    options: dict[str, Any] = {"weights": None}
    if architecture.family == "segmentation":
        options |= {"weights_backbone": None}
    elif name in ("googlenet", "inception_v3"):
        options |= {"init_weights": False}
    return torchvision.models.get_model(name, **options)


def classifiers(model: nn.Module) -> list[nn.Module]:
    """The layers that give the classes (1000 of ImageNet, 21 of VOC), which must keep their width."""
    layers: list[nn.Module] = []
    for module in model.modules():
        width = getattr(module, "out_features", getattr(module, "out_channels", None))
        if isinstance(module, nn.Linear | nn.Conv2d) and width in (1000, 21):
            layers.append(module)
    return layers
