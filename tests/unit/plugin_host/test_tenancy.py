import pytest

from forgemesh.plugin_host.registration.tenancy import Tenancy


def said(incarnation: int, renewals: int) -> dict[str, str]:
    return {"incarnation": str(incarnation), "renewals": str(renewals)}


@pytest.mark.parametrize(
    ("first", "second", "alive"),
    [
        ((7, 3), (7, 3), False),
        ((7, 3), (7, 4), True),
        ((7, 3), (9, 1), True),
        ((7, 3), (7, 1), False),
    ],
    ids=["silent", "renewed", "registered anew", "registry started anew"],
)
def test_who_holds_an_id_lives_if_it_does_something(
    first: tuple[int, int], second: tuple[int, int], alive: bool
) -> None:
    tenancy = Tenancy()

    assert not tenancy.is_alive(said(*first))
    assert tenancy.is_alive(said(*second)) is alive


@pytest.mark.parametrize("wrong", [{}, {"incarnation": "7"}, {"incarnation": "7", "renewals": "many"}])
def test_a_registry_that_does_not_say_what_the_holder_does_proves_nothing(wrong: dict[str, str]) -> None:
    tenancy = Tenancy()

    assert [tenancy.is_alive(wrong), tenancy.is_alive(wrong)] == [False, False]
