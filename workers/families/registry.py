"""Every family that is served, by the class name in a pipeline's model_index.json."""

from workers.families.allegro import ALLEGRO
from workers.families.anyflow import ANYFLOW
from workers.families.base import Family
from workers.families.cogvideox import COGVIDEOX
from workers.families.cogvideox_i2v import COGVIDEOX_I2V
from workers.families.cosmos import COSMOS
from workers.families.easyanimate import EASYANIMATE
from workers.families.helios import HELIOS
from workers.families.hunyuan_skyreels_i2v import HUNYUAN_SKYREELS_I2V
from workers.families.hunyuan_video import HUNYUAN_VIDEO
from workers.families.hunyuan_video15 import HUNYUAN_VIDEO15
from workers.families.hunyuan_video15_i2v import HUNYUAN_VIDEO15_I2V
from workers.families.hunyuan_video_i2v import HUNYUAN_VIDEO_I2V
from workers.families.kandinsky5 import KANDINSKY5
from workers.families.kandinsky5_i2v import KANDINSKY5_I2V
from workers.families.latte import LATTE
from workers.families.ltx import LTX
from workers.families.ltx2 import LTX2
from workers.families.ltx2_i2v import LTX2_I2V
from workers.families.ltx_condition import LTX_CONDITION
from workers.families.ltx_i2v import LTX_I2V
from workers.families.mochi import MOCHI
from workers.families.motif_video import MOTIF_VIDEO
from workers.families.motif_video_i2v import MOTIF_VIDEO_I2V
from workers.families.sana_video import SANA_VIDEO
from workers.families.sana_video_i2v import SANA_VIDEO_I2V
from workers.families.skyreels_v2 import SKYREELS_V2
from workers.families.skyreels_v2_df import SKYREELS_V2_DF, SKYREELS_V2_DF_I2V
from workers.families.skyreels_v2_i2v import SKYREELS_V2_I2V
from workers.families.wan import WAN
from workers.families.wan_i2v import WAN_I2V

# Pipelines that a folder of a served family may name, and why they are not served
_A_VIDEO = "it starts from a video"
_TOKENS = "the tokens of its pictures stand among the video's"
NOT_SERVED = {
    "SkyReelsV2DiffusionForcingVideoToVideoPipeline": _A_VIDEO,
    "WanVideoToVideoPipeline": _A_VIDEO,
    "WanVACEPipeline": _A_VIDEO,
    "WanAnimatePipeline": _A_VIDEO,
    "CogVideoXVideoToVideoPipeline": _A_VIDEO,
    "CogVideoXFunControlPipeline": _A_VIDEO,
    "EasyAnimateControlPipeline": _A_VIDEO,
    "EasyAnimateInpaintPipeline": "it is given a picture as a video with a mask",
    "CosmosVideoToWorldPipeline": "each branch of its guidance is given noise of its own, which "
    "its attention cannot be kept without; CosmosTextToWorldPipeline is served",
    "Cosmos2VideoToWorldPipeline": "it was not tried; CosmosTextToWorldPipeline is served",
    "Cosmos2_5_PredictBasePipeline": "it was not tried; CosmosTextToWorldPipeline is served",
    "LTX2ConditionPipeline": f"{_TOKENS}; LTX2Pipeline and LTX2ImageToVideoPipeline are served",
    "HunyuanVideoFramepackPipeline": "it makes a video piece by piece, each from those before it",
    "HeliosPyramidPipeline": "its steps are of several sizes; HeliosPipeline is served",
    "AnyFlowFARPipeline": "it makes a video piece by piece, with the keys of earlier pieces kept; "
    "AnyFlowPipeline is served",
    "WanAnyFlowPipeline": "it is its authors' code; where the folder's other classes are "
    "diffusers', set pipeline: AnyFlowPipeline",
    "ChronoEditPipeline": "it edits pictures",
    "ConsisIDPipeline": "it starts from a face, whose tokens stand among the video's",
}
FAMILIES: dict[str, Family] = {
    family.pipeline: family
    for family in (
        WAN,
        WAN_I2V,
        HUNYUAN_VIDEO,
        HUNYUAN_VIDEO_I2V,
        HUNYUAN_SKYREELS_I2V,
        COGVIDEOX,
        COGVIDEOX_I2V,
        MOCHI,
        HUNYUAN_VIDEO15,
        HUNYUAN_VIDEO15_I2V,
        LTX,
        LTX_I2V,
        LTX_CONDITION,
        LTX2,
        LTX2_I2V,
        SKYREELS_V2,
        SKYREELS_V2_I2V,
        SKYREELS_V2_DF,
        SKYREELS_V2_DF_I2V,
        KANDINSKY5,
        KANDINSKY5_I2V,
        ALLEGRO,
        LATTE,
        COSMOS,
        EASYANIMATE,
        MOTIF_VIDEO,
        MOTIF_VIDEO_I2V,
        HELIOS,
        ANYFLOW,
        SANA_VIDEO,
        SANA_VIDEO_I2V,
    )
}
