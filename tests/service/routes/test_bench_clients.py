"""The request sequences of SGLang's bench client and of NVIDIA's AIPerf, as their sources send
them: paths, methods, headers and bodies, and what they need of each answer."""

import httpx

from tests.service.conftest import Api, wait_for
from tests.service.worker import Worker


def test_sglang_bench_serving(api: Api) -> None:
    """``bench_serving --task text-to-video --width 96 --height 64 --num-frames 17 --fps 8``: it
    waits up to 20 minutes for /health, then asks which model is served."""
    agent = {"user-agent": "python-requests/2.32.5"}
    assert httpx.get(f"{api.url}/health", headers=agent).status_code == 200
    # not offered: it then goes on with the model of its command line
    assert httpx.get(f"{api.url}/v1/model_info", headers=agent).status_code == 404
    body = {
        "model": "scenes",
        "prompt": "A car is driving on the highway.",
        "size": "96x64",
        "num_frames": 17,
        "fps": 8,
    }
    submitted = httpx.post(f"{api.url}/v1/videos", json=body)
    assert submitted.status_code == 200
    url = f"{api.url}/v1/videos/{submitted.json()['id']}"

    def done() -> bool:
        answer = httpx.get(url)
        assert answer.status_code == 200
        assert answer.json()["status"] != "failed"
        return bool(answer.json()["status"] == "completed")

    wait_for(done, "the video to be completed")


def test_aiperf(api: Api, worker: Worker) -> None:
    """``aiperf profile --endpoint-type video_generation --extra-inputs seconds:2 …``, with the
    video downloaded."""
    headers = {
        "user-agent": "aiperf/0.4.0",
        "accept": "application/json",
        "x-request-id": "0f0f2a52-5d5f-4b52-8a07-7c2a3b1d9d11",
        "x-correlation-id": "5b2c41b7-7d58-4f0e-9a49-0b5c7c1f3e77",
    }
    body = {
        "prompt": "A car is driving on the highway.",
        "model": "scenes",
        "size": "96x64",
        "seconds": 2,
        "seed": 7,
        "num_inference_steps": 3,
        "guidance_scale": 4.5,
        "negative_prompt": "blurry",
        "response_format": "url",
        "n": 1,
    }
    submitted = api.http.post("/videos", json=body, headers=headers)
    assert submitted.status_code == 200, submitted.text
    assert submitted.json()["status"] == "queued"
    path = f"/videos/{submitted.json()['id']}"

    def done() -> bool:
        status = api.http.get(path, headers=headers).json()["status"]
        assert status in ("queued", "in_progress", "completed")
        return bool(status == "completed")

    wait_for(done, "the video to be completed")
    content = api.http.get(f"{path}/content", headers={**headers, "accept": "video/mp4"})
    assert content.content == worker.video


def test_aiperf_as_a_form(api: Api) -> None:
    """With ``--request-content-type multipart/form-data`` every value is text."""
    fields = {"prompt": "A car.", "model": "scenes", "seconds": "2", "n": "1", "seed": "7"}
    form = {name: (None, value) for name, value in fields.items()}
    made = api.http.post("/videos", files=form)
    assert made.status_code == 200, made.text
    assert (made.json()["seed"], made.json()["num_frames"]) == (7, 17)
