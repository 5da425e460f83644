"""Images chosen in the gallery, and the actions on their captions."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from curator.caption_sets.revise import revise
from curator.catalog import Catalog
from curator.datasets.image import image_caption
from curator.server.access_tokens import add
from curator.server.web.selections import MAX_IMAGES, MAX_SELECTIONS, Selections
from schemas.errors import BadOption, NotFound
from tests.curator.lab import Lab
from tests.curator.server.conftest import MakeClient
from tests.curator.server.web.test_export import begun
from tests.curator.server.web.test_pages import HTML, csrf

__all__ = ["begun"]
CHOOSE = "/datasets/zoo/selection"


def image(lab: Lab, name: str) -> str:
    return str(lab.run(f"SELECT image_sha256 FROM files WHERE file_name = '{name}.png'")[0][0])


def chosen(client: TestClient, lab: Lab, *names: str) -> str:
    """Return the address of a selection."""
    images = " ".join(image(lab, name) for name in names)
    answer = client.post(CHOOSE, data={"images": images}, headers=HTML, follow_redirects=False)
    assert answer.status_code == 303
    return answer.headers["location"]


def form(client: TestClient, address: str, action: str) -> dict[str, Any]:
    """Return the hidden fields of the page's form with this action."""
    page = client.get(address, headers=HTML).text
    found = page[page.index(f'/{action}"') :]
    fields = re.findall(r'name="([^"]+)" value="([^"]*)"', found[: found.index("</form>")])
    return {name: unescape(value) for name, value in fields}


def test_boxes_and_a_list_and_all_that_was_found_choose(client: TestClient, lab: Lab) -> None:
    page = client.get("/datasets/zoo", headers=HTML).text
    assert page.count('class="pick" name="image"') == 6
    boxes = {"image": [image(lab, "fox"), image(lab, "wolf")]}
    assert "<h1>2 images chosen</h1>" in client.post(CHOOSE, data=boxes, headers=HTML).text
    assert "<h1>1 image chosen</h1>" in client.get(chosen(client, lab, "fox"), headers=HTML).text
    answer = client.post(f"{CHOOSE}?text=fox&show=human", data={"everything": "true"}, headers=HTML)
    assert "<h1>2 images chosen</h1>" in answer.text and "caption_set=human" in str(answer.url)


@pytest.mark.parametrize(("given", "said"), [("", "No image is chosen"), ("../../etc", "isn't an image")])
def test_what_cant_be_chosen(client: TestClient, given: str, said: str) -> None:
    answer = client.post(CHOOSE, data={"images": given}, headers=HTML)
    assert answer.status_code == 422 and said in unescape(answer.text)


def test_more_boxes_than_a_form_has_fields(client: TestClient) -> None:
    images = [f"{number:064x}" for number in range(20_000)]
    fields = {"images": [" ".join(images[:10_000]), " ".join(images[10_000:])]}
    answer = client.post(CHOOSE, data=fields, headers=HTML)
    assert answer.status_code == 200 and "20,000 images chosen" in answer.text


def test_accept_makes_captions_the_persons_and_is_undone(client: TestClient, catalog: Catalog, lab: Lab) -> None:
    address = f"{chosen(client, lab, 'fox', 'wolf', 'lion')}?caption_set=human"
    assert "Without a caption in human: 1." in client.get(address, headers=HTML).text
    path = address.partition("?")[0]
    done = client.post(f"{path}/accept", data=form(client, address, "accept"), headers=HTML)
    assert "2 captions accepted." in done.text
    wolf = image_caption(catalog, "zoo", image(lab, "wolf"), "human")
    assert (wolf.text, wolf.by_person, wolf.strategy) == ("wolf in the snow", True, "accept")
    assert not image_caption(catalog, "zoo", image(lab, "bear"), "human").by_person
    undone = client.post(f"{path}/undo", data=form(client, str(done.url), "undo"), headers=HTML)
    assert "Undone for 2 captions." in undone.text
    assert not image_caption(catalog, "zoo", image(lab, "wolf"), "human").by_person


def test_what_changed_since_it_was_looked_at_isnt_accepted_unseen(
    client: TestClient, catalog: Catalog, lab: Lab
) -> None:
    address = f"{chosen(client, lab, 'fox', 'wolf')}?caption_set=human"
    fields = form(client, address, "accept")
    revise(catalog, "zoo", "human", image(lab, "wolf"), "by ben", "ben")
    done = client.post(f"{address.partition('?')[0]}/accept", data=fields, headers=HTML).text
    assert "1 caption accepted. 1 changed meanwhile" in done
    assert image_caption(catalog, "zoo", image(lab, "wolf"), "human").person == "ben"


def test_a_bulk_accept_isnt_undone_from_one_of_its_images(client: TestClient, catalog: Catalog, lab: Lab) -> None:
    address = f"{chosen(client, lab, 'fox', 'wolf')}?caption_set=human"
    client.post(f"{address.partition('?')[0]}/accept", data=form(client, address, "accept"), headers=HTML)
    here = f"/datasets/zoo/images/{image(lab, 'wolf')}"
    assert ">Undo<" not in client.get(here, headers=HTML).text
    now = image_caption(catalog, "zoo", image(lab, "wolf"), "human").caption_id
    answer = client.post(
        f"{here}/captions/human/undo", data={"caption_id": now, "csrf_token": csrf(client, here)}, headers=HTML
    )
    assert answer.status_code == 404 and image_caption(catalog, "zoo", image(lab, "fox"), "human").by_person


def test_replace_and_put_back_touch_only_what_is_chosen(client: TestClient, catalog: Catalog, lab: Lab) -> None:
    address = chosen(client, lab, "wolf", "bear")
    name = address.rpartition("/")[2]
    asked = {"caption_set": "human", "find": "snow", "replacement": "rain", "selection": name}
    page = client.get("/datasets/zoo/replace", params=asked, headers=HTML).text
    assert "2 chosen images" in page and "Replace in 2" in page
    data = asked | {"csrf_token": csrf(client, "/jobs")}
    assert "2 captions changed." in client.post("/datasets/zoo/replace", data=data, headers=HTML).text
    assert image_caption(catalog, "zoo", image(lab, "frog"), "human").text == "frog in the snow"
    only = f"{chosen(client, lab, 'wolf')}?caption_set=human"
    fields = form(client, only, "restore") | {"version": 1}
    done = client.post(f"{only.partition('?')[0]}/restore", data=fields, headers=HTML).text
    assert "1 caption restored to zoo/human@1." in done
    texts = [image_caption(catalog, "zoo", image(lab, one), "human").text for one in ("wolf", "bear", "fox")]
    assert texts == ["wolf in the snow", "bear in the rain", "a red fox in deep snow"]


def test_they_are_sent_to_label_studio_by_one_job(client: TestClient, lab: Lab, begun: list[list[str]]) -> None:
    address = f"{chosen(client, lab, 'wolf')}?caption_set=human"
    fields = form(client, address, "send") | {"target": "refined"}
    for _ in range(2):
        assert client.post(f"{address.partition('?')[0]}/send", data=fields, headers=HTML).url.path == "/jobs"
    condition = f"--where=sha256 in ('{image(lab, 'wolf')}')"
    assert begun == [["annotate", "push", "zoo", "--set=human", "--to=refined", condition]]


def test_who_may_only_read_changes_nothing(make_client: MakeClient, catalog: Catalog, lab: Lab) -> None:
    reader = make_client(require_token=True)
    reader.post("/login", data={"token": add(catalog, "ana", "read", None, "boss").token})
    token = csrf(reader, "/datasets/zoo")
    answer = reader.post(CHOOSE, data={"images": image(lab, "fox"), "csrf_token": token}, headers=HTML)
    assert "1 image chosen" in answer.text and "Find and replace" in answer.text
    assert "/accept" not in answer.text and "/send" not in answer.text
    data = {"caption_set": "human", "seen": 99, "csrf_token": token}
    assert reader.post(f"{answer.url.path}/accept", data=data, headers=HTML).status_code == 403


def test_requests_that_choose_at_once_dont_disturb_each_other(app: FastAPI) -> None:
    selections = Selections(app.state.settings.data)
    with ThreadPoolExecutor(8) as pool:
        names = list(
            pool.map(lambda number: selections.store("zoo", [f"{number // 2:064x}"]), range(8 * MAX_SELECTIONS))
        )
    assert len(set(names)) == 4 * MAX_SELECTIONS
    assert len([file for file in selections.folder.iterdir() if not file.name.startswith(".")]) == MAX_SELECTIONS


def test_the_last_selections_are_kept_each_of_its_dataset(app: FastAPI) -> None:
    selections = Selections(app.state.settings.data)
    names = [selections.store("zoo", [f"{number:064x}"]) for number in range(MAX_SELECTIONS + 3)]
    assert selections.read("zoo", names[-1]) == [f"{MAX_SELECTIONS + 2:064x}"]
    assert len(list(selections.folder.iterdir())) == MAX_SELECTIONS
    for dataset, name in (("other", names[-1]), ("zoo", "../key"), ("zoo", "0" * 24)):
        with pytest.raises(NotFound):
            selections.read(dataset, name)
    with pytest.raises(BadOption, match="at most"):
        selections.store("zoo", (f"{number:064x}" for number in range(MAX_IMAGES + 1)))
