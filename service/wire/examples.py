"""Example answers for the OpenAPI file, by the name of their schema."""

from typing import Any

from schemas.webhooks import EVENT_TYPES
from service.wire.upload_examples import UPLOADS

VIDEO_ID = "video_01a2092b7c5de41f0a1b2c3d4e5f"
ENDPOINT_ID = "webhook_01a2092b7c5de41f0a1b2c3d"
DELIVERY_ID = f"evt_01a2092b7c5de41f0a1b2c3d4e5f_{ENDPOINT_ID}"
ANALYSIS_ID = "analysis_01a2092b7c5de41f0a1b2c3d4e5f"
SOURCE_KEY = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
ARTIFACT_ID = f"attn_{SOURCE_KEY}_2c26b46b68ffc68ff99b453c1d304134"

VIDEO: dict[str, Any] = {
    "id": VIDEO_ID,
    "object": "video",
    "model": "scenes",
    "status": "in_progress",
    "progress": 35,
    "created_at": 1795453695,
    "completed_at": None,
    "expires_at": None,
    "prompt": "A car is driving on the highway.",
    "seconds": "2.125",
    "size": "96x64",
    "remixed_from_video_id": None,
    "error": None,
    "seed": 7,
    "negative_prompt": "",
    "num_frames": 17,
    "fps": 8,
    "num_inference_steps": 20,
    "guidance_scale": 4.0,
    "guidance_scale_2": None,
    "loras": [],
    "step_cache": None,
    "input_reference": None,
    "transfer": None,
    "region": None,
    "source_key": SOURCE_KEY,
    **dict.fromkeys(("attention", "attention_kept", "attention_not_kept", "cost", "metrics")),
    **dict.fromkeys(("prompt_truncated", "queue_position", "film")),
}
RANGE = {"minimum": 32, "maximum": 128, "default": 96, "step": 16, "offset": 0}
MODEL: dict[str, Any] = {
    "id": "scenes",
    "object": "model",
    "created": 1795450000,
    "owned_by": "retake",
    "family": "wan",
    "revision": "1",
    "dtype": "float32",
    "licence": "apache-2.0",
    "default_size": "96x64",
    "width": RANGE,
    "height": {**RANGE, "default": 64},
    "max_pixels": 9216,
    "num_frames": {"minimum": 1, "maximum": 33, "default": 17, "step": 4, "offset": 1},
    "fps": {"minimum": 1, "maximum": 30, "default": 8, "step": 1, "offset": 0},
    "num_inference_steps": {"minimum": 1, "maximum": 50, "default": 20, "step": 1, "offset": 0},
    "guidance_scale": 4.0,
    "max_guidance_scale": 20.0,
    "supports_guidance_scale_2": False,
    "guidance_scale_2": None,
    "negative_prompt": "",
    "max_prompt_chars": 200,
    "max_prompt_tokens": 511,
    "layers": 8,
    "heads": 4,
    "branches": ["cond", "uncond"],
    "supports_transfer": True,
    "supports_preview": True,
    "supports_step_cache": True,
    "step_cache_methods": ["first_block", "taylorseer"],
    "supports_uploads": True,
    "supports_region": True,
    "region_kinds": ["mask", "boxes", "auto", "word"],
    "inputs": ["text"],
    "required_inputs": ["text"],
    "presets": {"recolour": {"layers": None, "steps": 0.5, "branches": ["cond"]}},
}
OF_A_RUN = (
    *("model", "prompt", "negative_prompt", "seed", "num_frames", "num_inference_steps"),
    *("guidance_scale", "guidance_scale_2", "fps", "loras", "step_cache"),
)
GENERATION = {name: VIDEO[name] for name in OF_A_RUN} | {
    "fingerprint": SOURCE_KEY,
    "width": 96,
    "height": 64,
    "frame_rate": None,
    "picture": None,
}
ARTIFACT: dict[str, Any] = {
    "id": ARTIFACT_ID,
    "object": "attention.artifact",
    "source_key": SOURCE_KEY,
    "capture_key": "2c26b46b68ffc68ff99b453c1d304134",
    "recipe": {"generation": GENERATION, "source": None, "transfer": None},
    "form": "hidden",
    "codec": "zipnn",
    "grid": [5, 4, 6],
    "layers": [0, 1, 2, 3],
    "steps": [0, 1, 2, 3],
    "branches": ["cond", "uncond"],
    "hidden_layers": [],
    "outputs": True,
    "made_by": "torch 2.13.0 diffusers 0.42.1 transformers 5.23.0",
    "stored_bytes": 825360,
    "decoded_bytes": 983040,
    "created_at": 1795453700,
    "expires_at": 1796058500,
}
FORM = {
    "form": "hidden",
    "available": True,
    "bytes": 983040,
    "stored_bytes": 825754,
    "share_of_dense": 0.22,
    "edit_cost": 1.0,
    "edit_read_bytes": 825754,
}
ENDPOINT: dict[str, Any] = {
    "id": ENDPOINT_ID,
    "object": "webhook_endpoint",
    "name": "production",
    "url": "https://example.com/hook",
    "event_types": ["video.completed", "video.failed"],
    "created_at": 1795453695,
    "updated_at": 1795453695,
    "signing_secret_hint": "whsec_…q80=",
}
DELIVERY: dict[str, Any] = {
    "id": DELIVERY_ID,
    "object": "webhook_delivery",
    "webhook_endpoint_id": ENDPOINT_ID,
    "event_id": "evt_01a2092b7c5de41f0a1b2c3d4e5f",
    "event_type": "video.completed",
    "video_id": VIDEO_ID,
    "status": "failed",
    "attempts": 8,
    "created_at": 1795453695,
    "next_attempt_at": None,
    "last_status_code": 500,
    "last_error": "answered 500",
}

ANALYSIS_SOURCES = [
    {"prompt": "A car is driving on the highway.", "seed": 7},
    {"prompt": "A dog is running on the grass.", "seed": 7},
]
ANALYSIS: dict[str, Any] = {
    "id": ANALYSIS_ID,
    "object": "attention.analysis",
    "kind": "structure",
    "status": "completed",
    "progress": 100,
    "step": 20,
    "total_steps": 20,
    "created_at": 1795453695,
    "completed_at": 1795453722,
    "expires_at": 1798045722,
    "error": None,
    "request": {
        "kind": "structure",
        "layers": None,
        "heads": None,
        "steps": None,
        "branches": None,
        "sampling": {"rows": 128, "seed": 0},
        "densities": [0.1, 0.3],
        "masses": [0.9],
        "causal": None,
        "ablations": None,
    },
    "sources": [
        {
            "video_id": VIDEO_ID,
            "recipe": {"generation": GENERATION, "source": None, "transfer": None},
            "stored": True,
        }
    ],
    "figures": ["decay", "heads", "maps", "shares"],
    "size_bytes": 1825360,
    "seconds": 26.4,
}
ANALYSIS_RESULT: dict[str, Any] = {
    "version": 1,
    "kind": "structure",
    "sources": [
        {
            "model": "scenes",
            "prompt": "A car is driving on the highway.",
            "seed": 7,
            "grid": [5, 8, 12],
            "coordinates": {"branch": ["cond"], "step": [19], "layer": [0, 1], "head": [0]},
            "measures": {
                "structure": {
                    "own_frame_share": {
                        "axes": ["branch", "step", "layer", "head"],
                        "unit": "share of the weight",
                        "definition": "mean over rows of the weight to the own frame",
                        "values": [[[[0.21], [0.38]]]],
                    }
                }
            },
        }
    ],
    "comparisons": {},
    "experiment": None,
    "figures": ["decay", "heads", "maps", "shares"],
}


def page(entry: dict[str, Any]) -> dict[str, Any]:
    ids = {"first_id": entry["id"], "last_id": entry["id"]}
    return {"object": "list", "data": [entry], **ids, "has_more": False}


EXAMPLES: dict[str, Any] = {
    "Video": VIDEO,
    "VideoList": page(VIDEO),
    "VideoDeleted": {"id": VIDEO_ID, "deleted": True, "object": "video.deleted"},
    "Model": MODEL,
    "ModelList": {"object": "list", "data": [MODEL]},
    "LineageList": {
        "object": "list",
        "data": [
            {
                "video_id": VIDEO_ID, "exists": True, "source_key": SOURCE_KEY,
                "prompt": "A car is driving on the highway.",
                "negative_prompt": "",
                "guidance_scale": 4.0,
                "seed": 7,
                "transfer": None,
            }
        ],
    },
    **UPLOADS,
    "ArtifactList": page(ARTIFACT),
    "ArtifactWithUses": {**ARTIFACT, "videos": [VIDEO_ID]},
    "ArtifactDeleted": {"id": ARTIFACT_ID, "deleted": True, "object": "attention.artifact.deleted"},
    "Estimate": {
        "model": "scenes",
        "grid": [5, 4, 6],
        "tokens": 120,
        "layers": [0, 1, 2, 3],
        "steps": [0, 1, 2, 3],
        "branches": ["cond", "uncond"],
        "codec": "zipnn",
        "chosen": "hidden",
        "hidden_layers": [],
        "chosen_bytes": 983040,
        "chosen_edit_cost": 1.0,
        "chosen_least_edit_cost": 1.0,
        "forms": [FORM],
        "replay_cost": 2.0,
    },
    "Analysis": ANALYSIS,
    "AnalysisList": page(ANALYSIS),
    "AnalysisDeleted": {
        "id": ANALYSIS_ID, "deleted": True, "object": "attention.analysis.deleted",
    },
    "AnalysisEstimate": {
        "kind": "structure", "sources": 2, "maps": 320, "videos": 0, "passes": 80, "cost": 2.2,
    },
    "WebhookEndpoint": ENDPOINT,
    "WebhookEndpointList": page(ENDPOINT),
    "WebhookEndpointWithSecret": {
        **ENDPOINT,
        "signing_secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8Gq80=",
    },
    "WebhookEndpointDeleted": {
        "id": ENDPOINT_ID, "deleted": True, "object": "webhook_endpoint.deleted",
    },
    "WebhookTestResult": {
        "object": "webhook_endpoint.test",
        "webhook_endpoint_id": ENDPOINT_ID,
        "event_type": "video.completed",
        "status_code": 200,
        "success": True,
    },
    "WebhookEventTypeList": {"object": "list", "data": list(EVENT_TYPES)},
    "WebhookDelivery": DELIVERY,
    "WebhookDeliveryList": page(DELIVERY),
    "Health": {"status": "ok"},
    "ErrorBody": {
        "error": {
            "message": "num_frames: 16 is not allowed; allowed is 1 to 33, of the form 4k+1; "
            "nearest is 17",
            "type": "invalid_request_error", "param": "num_frames", "code": "invalid_value",
        }
    },
}  # fmt: skip
