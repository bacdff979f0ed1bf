"""The request sequences of NVIDIA's AIPerf, recorded from the program itself, and of SGLang's bench
client, as its source sends them; and what they need of each answer."""

import httpx

from tests.service.conftest import Api, wait_for
from tests.service.worker import Worker


def test_sglang_bench_serving(api: Api) -> None:
    """``bench_serving --task text-to-video --width 96 --height 64 --num-frames 17 --fps 8``: it
    waits up to 20 minutes for /health, then asks which model is served."""
    agent = {"user-agent": "python-requests/2.32.5"}
    wait_for(lambda: httpx.get(f"{api.url}/health", headers=agent).status_code == 200, "the server")
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


AIPERF = {
    "user-agent": "aiperf/0.13.0",
    "x-request-id": "fdcfa37f-758c-4640-b3de-fdb1a463b88a",
    "x-correlation-id": "f298dc69-b520-4077-bda7-d19248ecacab",
    "accept": "application/json",
    "x-session-affinity": "f298dc69-b520-4077-bda7-d19248ecacab",
}


def aiperf_form(boundary: str, **fields: str) -> bytes:
    """A form as AIPerf writes it: a type for every part, before its name."""
    parts = [
        f"--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    return "".join([*parts, f"--{boundary}--\r\n"]).encode()


def test_aiperf(api: Api, worker: Worker) -> None:
    """``aiperf profile --model scenes --endpoint-type video-generation --download-video-content
    --extra-inputs size:96x64 seconds:2 seed:7 num_inference_steps:3 guidance_scale:4.5``,
    recorded from AIPerf 0.13.0."""
    agent = {"user-agent": "Python/3.11 aiohttp/3.14.5"}
    for method in ("HEAD", "GET"):  # again and again, while it runs
        assert httpx.request(method, f"{api.url}/metrics", headers=agent).status_code == 200
    boundary = "d47aa4bda3c24893884ee04ad067c0f2"
    form = aiperf_form(
        boundary,
        prompt="A car is driving on the highway.",
        model="scenes",
        size="96x64",
        seconds="2",
        seed="7",
        num_inference_steps="3",
        guidance_scale="4.5",
    )
    sent = {**AIPERF, "content-type": f"multipart/form-data; boundary={boundary}"}
    submitted = api.http.post("/videos", content=form, headers=sent)
    assert submitted.status_code == 200, submitted.text
    video = submitted.json()
    assert (video["seed"], video["num_frames"], video["guidance_scale"]) == (7, 17, 4.5)
    path = f"/videos/{video['id']}"

    def done() -> bool:
        status = api.http.get(path, headers=AIPERF).json()["status"]
        assert status in ("queued", "in_progress", "completed")
        return bool(status == "completed")

    wait_for(done, "the video to be completed")
    content = api.http.get(f"{path}/content", headers=AIPERF)
    assert content.content == worker.video
