from forgemesh.registry.domain.leases import Leases


def test_a_lease_holds_until_its_end_and_not_at_it() -> None:
    leases = Leases()
    leases.extend("a", until=10.0)

    assert leases.holds("a", 9.999)
    assert not leases.holds("a", 10.0)
    assert not leases.holds("b", 0.0)


def test_leases_run_out_in_order() -> None:
    leases = Leases()
    for instance_id, end in (("a", 30.0), ("b", 10.0), ("c", 20.0)):
        leases.extend(instance_id, end)

    assert leases.next_end() == 10.0
    assert leases.expired(20.0) == ["b", "c"]


def test_a_renewed_lease_runs_out_later_and_a_dropped_one_never() -> None:
    leases = Leases()
    leases.extend("a", 10.0)
    leases.extend("a", 25.0)
    leases.extend("b", 12.0)
    leases.drop("b")

    assert leases.expired(24.0) == []
    assert leases.next_end() == 25.0


def test_renewals_are_counted_from_the_first_grant_on_until_the_registration_is_gone() -> None:
    leases = Leases()
    before = leases.renewals("a")
    for end in (10.0, 20.0):
        leases.extend("a", end)
    after = leases.renewals("a")
    leases.drop("a")

    assert (before, after, leases.renewals("a")) == (0, 2, 0)


def test_a_lease_that_is_held_is_not_renewed() -> None:
    leases = Leases()
    leases.extend("a", 10.0)
    leases.hold("a", 60.0)

    assert leases.holds("a", 50.0)
    assert leases.renewals("a") == 1
