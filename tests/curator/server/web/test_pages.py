"""Every page over a small catalog shows what the stages return, and its forms work."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from curator.annotate.status import PersonProgress, ProjectStatus, Remark, StatusResult
from curator.caption_sets.acceptance import Agreement
from curator.caption_sets.versions import versions
from curator.catalog import Catalog
from curator.datasets.image import image_caption
from curator.server.access_tokens import add
from curator.server.web import annotation, render
from curator.server.web.render import LABELS, for_page, query
from tests.curator.lab import Lab
from tests.curator.server.conftest import MakeClient

HTML = {"Accept": "text/html"}
PAGES = [
    "/", "/datasets/zoo", "/datasets/zoo/tiles", "/datasets/zoo/rejects", "/datasets/zoo/compare",
    "/datasets/zoo/compare?sets=human&sets=template@1", "/datasets/zoo/export",
    "/datasets/zoo/export?text=zoo/human@1", "/datasets/zoo/replace", "/versions", "/sets/zoo/human",
    "/diff?before=zoo/human@1", "/diff?before=zoo/human&after=zoo/template@1", "/snapshots", "/annotation", "/jobs",
    "/login",
]  # fmt: skip


def fox(lab: Lab) -> str:
    return str(lab.run("SELECT image_sha256 FROM files WHERE file_name = 'fox.png'")[0][0])


def csrf(client: TestClient, address: str) -> str:
    found = re.search(r'name="csrf_token" value="([0-9a-f]+)"', client.get(address, headers=HTML).text)
    assert found
    return found[1]


def test_every_page_is_whole_and_has_nothing_inline(client: TestClient) -> None:
    for address in PAGES:
        answer = client.get(address, headers=HTML)
        assert answer.status_code == 200, (address, answer.text)
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert not re.search(r"<script>|<style|\sstyle=|\son[a-z]+=", answer.text), address


def test_home_says_what_to_do_next(client: TestClient) -> None:
    page = client.get("/", headers=HTML).text
    assert (
        "1 image without a caption in human." in page and "/datasets/zoo?caption_set=human&amp;status=missing" in page
    )
    assert "1 caption of human in no version yet." in page
    assert 'href="/datasets/zoo/export">Export a snapshot' in page


def test_the_gallery_filters_and_shows_the_set_asked_for(client: TestClient) -> None:
    alone = client.get("/datasets/zoo", params={"caption_set": "human"}, headers=HTML).text
    assert "fox.png" in alone and "lion.png" not in alone
    assert "lion.png" in client.get("/datasets/zoo", params={"show": "human"}, headers=HTML).text
    assert 'href="/datasets/zoo?show=human"' in client.get("/sets/zoo/human", headers=HTML).text
    page = client.get("/datasets/zoo", params={"text": "deep", "caption_set": "human", "status": ""}, headers=HTML).text
    assert "1 image found" in page and "a red fox in deep snow" in page and "a drawing of a fox" not in page


def test_a_filter_that_cant_be_is_said_beside_the_form(client: TestClient) -> None:
    answer = client.get("/datasets/zoo", params={"where": "wideness > 3"}, headers=HTML)
    assert answer.status_code == 422 and "wideness" in answer.text and 'role="alert"' in answer.text
    assert client.get("/datasets/zoo", params={"status": "odd"}, headers=HTML).status_code == 422


def test_a_dataset_there_isnt_is_a_page_with_the_command_lines_text(client: TestClient) -> None:
    answer = client.get("/datasets/nix", headers=HTML)
    assert answer.status_code == 404 and "<h1>Not found</h1>" in answer.text and "zoo" in answer.text


def test_a_set_by_a_name_that_isnt_one(client: TestClient) -> None:
    assert client.get("/sets/zoo/nix", headers=HTML).status_code == 404
    assert "<h1>human</h1>" in client.get("/sets/zoo/human@1", headers=HTML).text


def test_text_of_captions_is_never_markup(client: TestClient, lab: Lab) -> None:
    lab.caption("human", {fox(lab): '<img src=x onerror="1">'}, "human")
    lab.write()
    for address in ("/datasets/zoo?show=human", f"/datasets/zoo/images/{fox(lab)}", "/diff?before=zoo/human@1"):
        assert "<img src=x" not in client.get(address, headers=HTML).text


def test_next_and_previous_stay_within_what_was_found(client: TestClient, lab: Lab) -> None:
    page = client.get(f"/datasets/zoo/images/{fox(lab)}", params={"text": "fox", "show": "human"}, headers=HTML).text
    (after,) = re.findall(r'rel="next" href="/datasets/zoo/images/([0-9a-f]+)\?text=fox&amp;show=human"', page)
    name = lab.run(f"SELECT file_name FROM files WHERE image_sha256 = '{after}'")[0][0]
    assert name == "fox again.png" and "1 of 2" in page and 'rel="prev"' not in page


def test_an_edit_is_the_persons_and_can_be_undone(client: TestClient, catalog: Catalog, lab: Lab) -> None:
    here = f"/datasets/zoo/images/{fox(lab)}"
    before = image_caption(catalog, "zoo", fox(lab), "human")
    form = {"text": "a fox", "expected": before.caption_id, "csrf_token": csrf(client, here)}
    answer = client.post(f"{here}/captions/human?text=fox", data=form, headers=HTML)
    assert str(answer.url).endswith(f"{here}?text=fox")
    edited = image_caption(catalog, "zoo", fox(lab), "human")
    assert (edited.text, edited.by_person) == ("a fox", True)
    again = client.post(f"{here}/captions/human", data=form, headers=HTML)
    assert again.status_code == 412 and "changed meanwhile" in again.text
    undo = {"caption_id": edited.caption_id, "csrf_token": form["csrf_token"]}
    assert client.post(f"{here}/captions/human/undo", data=undo, headers=HTML).status_code == 200
    assert image_caption(catalog, "zoo", fox(lab), "human").text == before.text
    assert client.post(f"{here}/captions/human/undo", data=undo, headers=HTML).status_code == 412


def test_only_edits_are_undone_from_the_image(client: TestClient, catalog: Catalog, lab: Lab) -> None:
    here = f"/datasets/zoo/images/{fox(lab)}"
    now = image_caption(catalog, "zoo", fox(lab), "template")
    undo = {"caption_id": now.caption_id, "csrf_token": ""}
    answer = client.post(f"{here}/captions/template/undo", data=undo, headers=HTML)
    assert answer.status_code == 404 and "isn&#39;t an edit" in answer.text


def test_a_change_from_a_browser_needs_the_pages_token(client: TestClient, lab: Lab) -> None:
    address = f"/datasets/zoo/images/{fox(lab)}/captions/human"
    headers = HTML | {"Origin": "http://127.0.0.1:8400"}
    answer = client.post(address, data={"text": "x", "expected": 1, "csrf_token": "0"}, headers=headers)
    assert answer.status_code == 403 and "out of date" in answer.text


def test_commit_and_restore(client: TestClient, catalog: Catalog) -> None:
    token = csrf(client, "/sets/zoo/human")
    form = {"message": "checked", "csrf_token": token}
    assert "Committed zoo/human@2." in client.post("/sets/zoo/human/versions", data=form, headers=HTML).text
    answer = client.post("/sets/zoo/human/versions/1/restore", data={"csrf_token": token}, headers=HTML)
    assert "equals zoo/human@1 again: 1 caption restored" in answer.text
    assert versions(catalog, "zoo/human").sets[0].uncommitted == 1


def test_the_diff_colours_words(client: TestClient) -> None:
    page = client.get("/diff", params={"before": "zoo/human@1"}, headers=HTML).text
    assert "<ins>" in page and "deep" in page


def test_replace_is_shown_then_done_then_undone(client: TestClient, catalog: Catalog, lab: Lab) -> None:
    asked = {"caption_set": "template", "find": "drawing", "replacement": "sketch"}
    page = client.get("/datasets/zoo/replace", params=asked, headers=HTML).text
    assert "<del>drawing</del><ins>sketch</ins>" in page and "Replace in 6" in page
    assert "drawing" in image_caption(catalog, "zoo", fox(lab), "template").text
    form = asked | {"csrf_token": re.findall(r'csrf_token" value="([0-9a-f]+)', page)[0]}
    done = client.post("/datasets/zoo/replace", data=form, headers=HTML).text
    assert "6 captions changed." in done and "sketch" in image_caption(catalog, "zoo", fox(lab), "template").text
    run = re.findall(r'name="run" value="(\d+)"', done)[0]
    undone = client.post("/datasets/zoo/replace/undo", data=form | {"run": run}, headers=HTML).text
    assert "Undone: 6 captions restored" in undone
    assert "drawing" in image_caption(catalog, "zoo", fox(lab), "template").text


def test_without_a_login_pages_lead_to_it(make_client: MakeClient) -> None:
    client = make_client(require_token=True)
    answer = client.get("/datasets/zoo?text=fox", headers=HTML, follow_redirects=False)
    assert answer.status_code == 303
    assert 'name="next" value="/datasets/zoo?text=fox"' in client.get(answer.headers["location"], headers=HTML).text


def test_no_link_makes_a_page_say_anything(client: TestClient) -> None:
    for address in ("/sets/zoo/human", "/datasets/zoo/replace"):
        asked = {"said": "Send your token to eve", "run": "1", "sign": "0"}
        assert "Send your token" not in client.get(address, params=asked, headers=HTML).text


def test_metadata_is_a_link_only_where_it_can_be_asked_for(client: TestClient, lab: Lab) -> None:
    odd = lab.add("odd.png", 77, {"a=b": "c", "flag": True, "nested": {"k": [1]}, "title": "odd"})
    lab.write()
    page = client.get(f"/datasets/zoo/images/{odd}", headers=HTML).text
    asked = [unescape(link) for link in re.findall(r'href="(/datasets/zoo\?metadata=[^"]+)"', page)]
    assert asked == ["/datasets/zoo?metadata=flag%3Dtrue", "/datasets/zoo?metadata=title%3Dodd"]
    assert all("1 image found" in client.get(link, headers=HTML).text for link in asked)


def test_empty_states_say_what_to_do(client: TestClient, lab: Lab) -> None:
    assert "curator snapshot DATASET/SET@1" in client.get("/snapshots", headers=HTML).text
    assert "curator annotate push" in client.get("/annotation", headers=HTML).text
    assert "Remove a filter" in client.get("/datasets/zoo?text=unicorn", headers=HTML).text


def test_the_state_of_annotation(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    project = ProjectStatus(
        target="zoo/refined", title="zoo", model_version="zoo/template@1", url="http://studio", project=7,
        rule="latest", pushed_at="2026-11-23T12:00:00Z", pulled_at=None, tasks=6, tasks_gone=0, images_answered=4,
        images_rejected=1,
        annotations={"unchanged": 3, "changed": 1}, to_pull=2, drafts=None, captions=3, uncommitted=3,
        people=[
            PersonProgress(
                person="ana", tasks=3, accepted=2, edited=1, rejected=0, without_caption=0, median_seconds=90,
                last_at="2026-11-23T12:00:00Z",
            )
        ], disagreements=1,
        agreement=Agreement(images=2, people=2, exact=0.5, token_f1=0.8), emptied=["http://studio/tasks/1"],
        images_until=None, remarks=[Remark(level="problem", message="Label Studio can't be reached.")],
    )  # fmt: skip
    monkeypatch.setattr(annotation, "status", lambda _: StatusResult(projects=[project], healthy=False))
    page = client.get("/annotation", headers=HTML).text
    assert 'href="http://studio/projects/7"' in page and "Label Studio can&#39;t be reached." in page
    assert "<b>1</b> to settle" in page and re.search(r">ana</th>.*?>2</td>.*?>1</td>.*?1 min 30 s", page, re.DOTALL)
    assert "<b>4</b> of 6 answered" in page and "50% of 2" in page and "<b>2</b> to pull" in page


def test_assets_are_kept_for_good_under_the_address_of_their_content(client: TestClient) -> None:
    (address,) = re.findall(r'href="(/static/[^"]+\.css)"', client.get("/login", headers=HTML).text)
    assert "immutable" in client.get(address).headers["cache-control"]
    assert client.get("/static/old/amatl.css").headers["cache-control"] == "no-cache"
    assert client.get("/static/old/..%2Frender.py").status_code == 404


def test_a_query_leaves_out_what_says_nothing() -> None:
    assert query(a="", b=0, c=["x y", "z"]) == "?b=0&c=x+y&c=z"


def test_a_message_names_the_fields_of_the_page_for_the_options() -> None:
    folder = Path(render.__file__).with_name("templates")
    pages = "".join(page.read_text(encoding="utf-8") for page in folder.glob("*.html"))
    assert [label for label in LABELS.values() if label not in pages] == []
    assert for_page("--holdout 9: add --keep-missing.") == (
        "“Number of images” 9: tick “Include images without all captions”."
    )
    assert for_page("curator ingest FOLDER --dataset zoo") == "curator ingest FOLDER --dataset zoo"


def test_a_job_that_is_none_is_said_beside_what_was_typed(client: TestClient) -> None:
    assert "No jobs yet." in client.get("/jobs", headers=HTML).text
    typed = "curator serve --host '0.0.0.0'"
    answer = client.post("/jobs", data={"command": typed, "csrf_token": csrf(client, "/jobs")}, headers=HTML)
    assert answer.status_code == 422
    assert "serve --host: not a job command. Choose one of: ingest," in answer.text
    assert typed in unescape(answer.text)
    unclosed = client.post("/jobs", data={"command": "caption 'zoo", "csrf_token": csrf(client, "/jobs")}, headers=HTML)
    assert "a quote isn't closed" in unescape(unclosed.text)


def test_who_may_not_write_begins_no_job(make_client: MakeClient, catalog: Catalog) -> None:
    token = add(catalog, "ana", "annotate", None, "boss").token
    reader = make_client(require_token=True)
    reader.post("/login", data={"token": token})
    page = reader.get("/jobs", headers=HTML).text
    assert 'name="command"' not in page
    answer = reader.post("/jobs", data={"command": "check zoo/human", "csrf_token": csrf(reader, "/")}, headers=HTML)
    assert answer.status_code == 403


def test_a_disagreement_is_settled_from_the_page(
    client: TestClient, catalog: Catalog, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from curator.catalog.annotations import PushRecord
    from tests.curator.annotate.pull.test_record import revision, write

    monkeypatch.setattr("curator.annotate.status._of_images", lambda *_: [])
    catalog.add_annotation_project("k1", "zoo", "human", "zoo/human", "me")
    push = PushRecord(
        push_id=1, project_key="k1", url="http://studio", label_studio_id=5, model_version="zoo/template@1",
        condition=None, image_limit=None, config_sha256="", images_url="http://here", person="me",
    )  # fmt: skip
    catalog.add_annotation_push(push, True, {})
    write(
        catalog,
        revision(1, 5, "one <b>fox</b>", image_sha256=fox(lab)),
        revision(2, 9, "two", image_sha256=fox(lab)),
    )
    page = client.get("/annotation", headers=HTML).text
    assert "1 to settle in zoo/human" in page and "one &lt;b&gt;fox" in page
    assert 'href="http://studio/projects/5/data?task=2"' in page
    form = page[page.index("/annotation/settle") :]
    fields = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', form[: form.index("</form>")]))
    data = {name: unescape(value) for name, value in fields.items()}
    own = client.post("/annotation/settle", data={**data, "text": "a third"}, headers=HTML)
    assert own.status_code == 422 and "nobody wrote" in own.text and "(p2@x)" in own.text
    done = client.post("/annotation/settle", data=data, headers=HTML).text
    assert "Settled." in done and "to settle in" not in done
    assert image_caption(catalog, "zoo", fox(lab), "human").text == "one <b>fox</b>"
    again = client.post("/annotation/settle", data=data, headers=HTML)
    assert again.status_code == 404 and "nothing to settle" in again.text
