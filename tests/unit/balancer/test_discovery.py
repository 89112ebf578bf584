from collections.abc import Iterable

import pytest

from forgemesh.balancer.domain.discovery import NOTHING, Discovery, Kind, Told, Wanted

CDS, EDS, LDS = Kind.CLUSTER, Kind.ENDPOINTS, Kind.LISTENER


class Stream:
    """A stream, and a world in which everything has a content."""

    def __init__(self, most: int = 100) -> None:
        self.discovery = Discovery(7, most=most, longest=10)
        self.known = ["a", "b"]
        self.content: dict[tuple[Kind, str], bytes] = {}

    def hear(self, kind: Kind, *names: str, nonce: str = "", refusal: str = "") -> object:
        return self.discovery.hear(Wanted(kind, names, nonce, refusal))

    def told(self) -> list[Told]:
        return list(self.discovery.due(lambda: self.known, self._resource))

    def _resource(self, kind: Kind, name: str) -> bytes:
        return self.content.get((kind, name), f"{kind.name} {name}".encode())


def names(told: Iterable[Told]) -> list[tuple[Kind, list[str]]]:
    return [(one.kind, list(one.resources)) for one in told]


def test_nobody_is_told_what_he_has_not_named() -> None:
    assert Stream().told() == []


def test_what_is_led_to_is_told_before_what_leads_there() -> None:
    stream = Stream()
    for kind in (LDS, EDS, CDS):
        stream.hear(kind, "a")

    assert names(stream.told()) == [(CDS, ["a"]), (EDS, ["a"]), (LDS, ["a"])]


def test_there_is_something_for_a_name_that_nobody_knows() -> None:
    stream = Stream()
    stream.hear(EDS, "nobody")

    assert names(stream.told()) == [(EDS, ["nobody"])]


def test_nothing_is_told_twice() -> None:
    stream = Stream()
    stream.hear(EDS, "a")
    (first,) = stream.told()

    assert stream.told() == []
    stream.hear(EDS, "a", nonce=first.nonce)
    assert stream.told() == []


def test_a_version_is_one_of_the_epoch_and_changes_with_the_content_and_a_nonce_with_each_response() -> None:
    stream = Stream()
    stream.hear(EDS, "a")
    (first,) = stream.told()
    stream.hear(EDS, "a", "b", nonce=first.nonce)
    (more,) = stream.told()
    stream.content[EDS, "a"] = b"other"
    (changed,) = stream.told()

    assert [one.version for one in (first, more, changed)] == ["7.1", "7.1", "7.2"]
    assert [one.nonce for one in (first, more, changed)] == ["1", "2", "3"]
    assert stream.discovery.accepted(EDS) == "7.1"


def test_of_endpoints_only_what_is_new_is_told_and_of_clusters_and_listeners_everything() -> None:
    stream = Stream()
    for kind in Kind:
        stream.hear(kind, "a", "b")
    stream.told()
    for kind in Kind:
        stream.content[kind, "b"] = b"other"

    assert names(stream.told()) == [(CDS, ["a", "b"]), (EDS, ["b"]), (LDS, ["a", "b"])]


def test_one_who_answers_an_earlier_response_is_not_heard() -> None:
    stream = Stream()
    stream.hear(EDS, "a")
    (first,) = stream.told()
    stream.content[EDS, "a"] = b"other"
    stream.told()

    assert stream.hear(EDS, "b", nonce=first.nonce) == NOTHING
    assert stream.discovery.accepted(EDS) == ""
    assert stream.discovery.wants("a")
    assert not stream.discovery.wants("b")


def test_a_name_that_comes_back_is_answered_although_nothing_has_changed() -> None:
    stream = Stream()
    stream.hear(EDS, "a", "b")
    (first,) = stream.told()
    stream.hear(EDS, "b", nonce=first.nonce)
    assert stream.told() == []
    stream.hear(EDS, "a", "b", nonce=first.nonce)

    (again,) = stream.told()

    assert (list(again.resources), again.version) == (["a"], first.version)


def test_what_is_refused_is_not_sent_again_before_it_changes_and_the_refusal_is_news_once() -> None:
    stream = Stream()
    stream.hear(CDS, "a")
    (first,) = stream.told()

    refusals = [stream.discovery.hear(Wanted(CDS, ["a"], first.nonce, "no")).refused for _ in range(2)]
    assert refusals == [True, False]
    assert stream.told() == []
    assert stream.discovery.accepted(CDS) == ""

    stream.content[CDS, "a"] = b"other"
    (second,) = stream.told()
    heard = stream.discovery.hear(Wanted(CDS, ["a"], second.nonce))
    assert (heard.accepted, heard.refused) == (True, False)
    assert stream.discovery.accepted(CDS) == "7.2"


def test_one_who_changes_his_mind_about_a_response_says_nothing_that_is_new() -> None:
    stream = Stream()
    stream.hear(CDS, "a")
    (first,) = stream.told()

    heard = [stream.discovery.hear(Wanted(CDS, ["a"], first.nonce, refusal)) for refusal in ("no", "", "no", "")]

    assert [(one.accepted, one.refused) for one in heard] == [(False, True), *[(False, False)] * 3]


def test_all_clusters_are_for_who_has_never_named_one() -> None:
    stream = Stream()
    stream.hear(CDS)
    (first,) = stream.told()
    stream.known.append("c")
    (second,) = stream.told()
    assert names((first, second)) == [(CDS, ["a", "b"]), (CDS, ["a", "b", "c"])]
    assert stream.discovery.wants("anything")

    stream.hear(CDS, "a", nonce=second.nonce)
    stream.hear(CDS, nonce=second.nonce)

    assert not stream.discovery.wants("a")
    assert stream.told() == []


@pytest.mark.parametrize(("kind", "answers"), [(LDS, [(LDS, [])]), (EDS, [])])
def test_nobody_listens_to_everything(kind: Kind, answers: object) -> None:
    stream = Stream()
    stream.hear(kind)

    assert names(stream.told()) == answers
    assert stream.told() == []


def test_an_empty_world_is_told_to_who_wants_all_of_it() -> None:
    stream = Stream()
    stream.known = []
    stream.hear(CDS)

    assert names(stream.told()) == [(CDS, [])]


def test_names_beyond_the_limits_are_left_out_and_the_others_stay() -> None:
    stream = Stream(most=3)
    heard = stream.discovery.hear(Wanted(EDS, ["a", "", "x" * 11, "b"]))
    assert (heard.fresh, heard.left_out) == (("a", "b"), 2)
    (first,) = stream.told()

    heard = stream.discovery.hear(Wanted(EDS, ["d", "c", "b", "a"], first.nonce))

    assert (heard.fresh, heard.left_out) == (("d",), 1)
    assert names(stream.told()) == [(EDS, ["d"])]
    assert stream.discovery.wants("a")


def test_the_same_name_twice_is_one_name() -> None:
    stream = Stream()
    stream.hear(EDS, "a", "a")

    assert names(stream.told()) == [(EDS, ["a"])]


def test_a_client_that_begins_anew_on_the_same_stream_is_told_everything() -> None:
    stream = Stream()
    stream.hear(EDS, "a")
    stream.told()
    stream.hear(EDS, "a")

    assert names(stream.told()) == [(EDS, ["a"])]
