"""Every family that is served, by the class name in a pipeline's model_index.json."""

from workers.families.allegro import ALLEGRO
from workers.families.anyflow import ANYFLOW
from workers.families.base import Family
from workers.families.cogvideox import COGVIDEOX
from workers.families.cogvideox_i2v import COGVIDEOX_I2V
from workers.families.cosmos import COSMOS
from workers.families.easyanimate import EASYANIMATE
from workers.families.helios import HELIOS
from workers.families.hunyuan_video import HUNYUAN_VIDEO
from workers.families.hunyuan_video15 import HUNYUAN_VIDEO15
from workers.families.kandinsky5 import KANDINSKY5
from workers.families.latte import LATTE
from workers.families.ltx import LTX
from workers.families.ltx2 import LTX2
from workers.families.mochi import MOCHI
from workers.families.motif_video import MOTIF_VIDEO
from workers.families.sana_video import SANA_VIDEO
from workers.families.skyreels_v2 import SKYREELS_V2
from workers.families.skyreels_v2_i2v import SKYREELS_V2_I2V
from workers.families.wan import WAN
from workers.families.wan_i2v import WAN_I2V

# Pipelines that a folder of a served family may name, and why they are not served
NOT_SERVED = {
    "LTXConditionPipeline": "LTX from 0.9.5 on starts from pictures, whose tokens stand among the "
    "video's; an LTXPipeline folder of LTX up to 0.9.1 is served",
    "SkyReelsV2DiffusionForcingPipeline": "each frame has a time of its own, and a step calls the "
    "transformer for some of them; the SkyReels-V2 T2V models are served",
    "AnyFlowFARPipeline": "it makes a video piece by piece, with the keys of earlier pieces kept",
    "WanVACEPipeline": "it starts from a video",
    "CosmosVideoToWorldPipeline": "it starts from a video",
}
FAMILIES: dict[str, Family] = {
    family.pipeline: family
    for family in (
        WAN,
        WAN_I2V,
        HUNYUAN_VIDEO,
        COGVIDEOX,
        COGVIDEOX_I2V,
        MOCHI,
        HUNYUAN_VIDEO15,
        LTX,
        LTX2,
        SKYREELS_V2,
        SKYREELS_V2_I2V,
        KANDINSKY5,
        ALLEGRO,
        LATTE,
        COSMOS,
        EASYANIMATE,
        MOTIF_VIDEO,
        HELIOS,
        ANYFLOW,
        SANA_VIDEO,
    )
}
