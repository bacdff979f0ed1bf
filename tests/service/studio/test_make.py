"""Make, in a real browser: videos come to be, fail and are cancelled before one's eyes."""

from playwright.sync_api import Page, expect

from service.settings import ServiceSettings
from storage.settings import StorageSettings
from tests.browser import Open
from tests.servers import Seaweed
from tests.service.conftest import Api, Serve, running, wait_for
from tests.service.pictured import OTHER, PNG, name_of
from tests.service.studio.conftest import HOSTILE, make
from tests.service.worker import Worker, film


def test_a_video_is_made_and_plays(api: Api, page: Page) -> None:
    make(page, "A car, seen from Studio.", seed=7, num_inference_steps=3)
    tile = page.locator("#make-jobs .tile").first
    expect(tile).to_have_attribute("data-status", "completed")
    page.wait_for_function("() => document.querySelector('#make-jobs video').currentTime > 0")
    made = api.http.get("/videos", params={"limit": 1}).json()["data"][0]
    assert (made["prompt"], made["seed"], made["num_inference_steps"]) == (
        "A car, seen from Studio.",
        7,
        3,
    )
    expect(tile).to_contain_text("Took")
    expect(page.locator("#announce")).to_have_text("The video is made.")


def test_the_example_and_the_limits_are_the_servers(page: Page) -> None:
    page.get_by_role("button", name="A car is driving on the highway.").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(
        "A car is driving on the highway."
    )
    expect(page.locator("[name=num_inference_steps]")).to_have_attribute("max", "50")
    expect(page.get_by_label("Size")).to_have_attribute("placeholder", "96x64")


def test_what_is_chosen_is_what_is_asked_for(api: Api, page: Page) -> None:
    expect(page.get_by_label("Seed")).to_be_visible()
    page.locator("[name=capture]").select_option("choose what is kept")
    page.get_by_label("Form").select_option("qk")
    page.locator("[name='capture.layers']").fill("0-1, 3")
    page.get_by_text("More settings").click()
    page.get_by_label("Priority").select_option("high")
    page.get_by_label("Guidance scale", exact=True).fill("2.5")
    with page.expect_request("**/v1/videos") as sent:
        make(page, "A car.", seed=2**62 + 1)
    body = sent.value.post_data or ""
    assert f'"seed":{2**62 + 1},' in body, "to the last digit"
    assert sent.value.post_data_json is not None
    asked = sent.value.post_data_json
    assert asked["capture"] == {"form": "qk", "layers": [0, 1, 3]}
    assert (asked["priority"], asked["guidance_scale"]) == ("high", 2.5)
    assert "size" not in asked, "what is left alone is the server's to choose"
    expect(page.locator("#make-jobs .tile").first).to_have_attribute("data-status", "completed")
    assert api.http.get("/videos", params={"limit": 1}).json()["data"][0]["seed"] == 2**62 + 1


def test_a_picture_to_start_from_where_the_model_takes_one(picture_api: Api, visit: Open) -> None:
    page = visit(f"{picture_api.url}/studio")
    models = page.locator("#make-form").get_by_label("Model")
    models.select_option("scenes")
    picture = page.get_by_label("Start from a picture")
    expect(page.get_by_label("Seed")).to_be_visible()
    expect(picture).to_have_count(0)
    models.select_option("wan-i2v")
    expect(picture).to_be_visible()
    picture.set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": PNG})
    expect(page.get_by_alt_text("The picture that was chosen")).to_be_visible()
    page.get_by_label("Fit of the picture").select_option("pad")
    make(page, "A car drives off.")
    tile = page.locator("#make-jobs .tile").first
    expect(tile).to_have_attribute("data-status", "completed")
    made = picture_api.http.get("/videos", params={"limit": 1}).json()["data"][0]
    assert made["input_reference"] == {"sha256": name_of(PNG), "fit": "pad"}
    # an edit keeps it, or starts from another
    tile.get_by_role("link", name="Keep the shot").click()
    page.get_by_text("Advanced").click()
    page.locator("#keep").get_by_label("Start from a picture").set_input_files(
        {"name": "b.png", "mimeType": "image/png", "buffer": OTHER}
    )
    page.get_by_role("button", name="Make the edit").click()
    expect(page.locator("#keep-stage .tile")).to_have_count(2)
    edit = picture_api.http.get("/videos", params={"limit": 1}).json()["data"][0]
    assert edit["input_reference"]["sha256"] == name_of(OTHER)
    expect(page.locator("#keep-stage .tile").nth(1)).to_have_attribute("data-status", "completed")


def test_a_film_of_ones_own_is_edited(api: Api, page: Page) -> None:
    page.get_by_text("Edit a film of your own").click()
    form = page.locator("#film-form")
    form.get_by_label("What it shows").fill("A car is driving.")
    form.get_by_label("What the edit shows").fill("A red car is driving.")
    form.get_by_label("Film").set_input_files(
        {"name": "mine.mp4", "mimeType": "video/mp4", "buffer": b"no film"}
    )
    form.get_by_role("button", name="Edit the film").click()
    expect(form.get_by_role("alert")).to_contain_text("not a video")
    form.get_by_label("Film").set_input_files(
        {"name": "mine.mp4", "mimeType": "video/mp4", "buffer": film(24)}
    )
    form.get_by_role("button", name="Edit the film").click()
    expect(page.locator("#make-jobs .tile").first).to_have_attribute("data-status", "completed")
    made = api.http.get("/videos", params={"limit": 1}).json()["data"][0]
    assert made["film"]["source_prompt"] == "A car is driving."
    kept = api.http.get(f"/uploads/{made['film']['upload_id']}").json()
    assert kept["filename"] == "mine.mp4"
    api.http.delete(f"/uploads/{kept['id']}")


def test_a_refusal_is_shown_as_the_api_says_it(api: Api, page: Page) -> None:
    before = api.count()
    make(page, "A car.", size="90x64")
    alert = page.locator("#make-form").get_by_role("alert")
    said = api.http.post("/videos", json={"prompt": "A car.", "size": "90x64"}).json()["error"]
    expect(alert).to_have_text(said["message"])
    size = page.get_by_label("Size")
    expect(size).to_have_attribute("aria-invalid", "true")
    expect(size).to_be_focused()
    size.fill("96x64")
    assert size.get_attribute("aria-invalid") is None
    assert api.count() == before


def test_a_failure_is_told_in_the_apis_words(page: Page) -> None:
    make(page, "[fail]")
    tile = page.locator("#make-jobs .tile").first
    expect(tile).to_have_attribute("data-status", "failed")
    expect(tile.locator(".status")).to_have_text("as asked")


def test_cancel_stops_the_job(api: Api, page: Page) -> None:
    make(page, "[hold] A car.")
    tile = page.locator("#make-jobs .tile").first
    expect(tile.locator(".status")).to_contain_text("Step 1 of")
    tile.get_by_role("button", name="Cancel").click()
    expect(tile.locator(".status")).to_have_text("Cancelled")
    made = api.http.get("/videos", params={"limit": 1}).json()["data"][0]
    assert made["error"]["code"] == "cancelled"


def test_a_prompt_is_text_and_nothing_else(page: Page) -> None:
    make(page, HOSTILE)
    tile = page.locator("#make-jobs .tile").first
    expect(tile).to_have_attribute("data-status", "completed")
    assert tile.locator("figcaption").inner_text() == HOSTILE
    for section in ("#keep", "#library"):
        page.evaluate("section => location.hash = section", section)
        shown = page.locator(section).get_by_text("onerror").first
        expect(shown).to_be_visible()
    page.locator("#library .entry").first.click()
    expect(page.locator("#library-detail pre").first).to_be_attached()
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("main b").count() == 0
    assert page.title() == "Library · Retake Studio"


def test_more_jobs_than_a_browser_has_connections(serve: Serve, visit: Open) -> None:
    api = serve()
    for number in range(9):
        api.create(f"[hold] {number}")
    page = visit(f"{api.url}/studio")
    tiles = page.locator("#make-jobs .tile")
    expect(tiles).to_have_count(9)
    for number in range(9):  # each by its stream or, without one, by polling
        expect(tiles.nth(number).locator("progress")).to_be_visible()
    for number in range(9):
        tiles.nth(number).get_by_role("button", name="Cancel").click()
    expect(page.locator("#make-jobs .tile[data-status=failed]")).to_have_count(9)
    assert wait_for(
        lambda: all(v["status"] == "failed" for v in api.http.get("/videos").json()["data"]),
        "all of them to be cancelled",
    )


def test_videos_come_from_this_server_though_the_store_could_send_them(
    own_storage: StorageSettings, seaweed: Seaweed, visit: Open
) -> None:
    where = {
        "object_url": f"{seaweed.object_url}/{own_storage.redis_prefix}",
        "s3_endpoint_url": seaweed.endpoint_url,
    }
    storage = own_storage.model_copy(update=where)
    worker = Worker(storage)
    worker.start()
    with running(ServiceSettings(storage=storage, port=0)) as api:
        page = visit(f"{api.url}/studio")
        make(page, "A car.")
        page.wait_for_function("() => document.querySelector('#make-jobs video')?.currentTime > 0")
    worker.stop()
