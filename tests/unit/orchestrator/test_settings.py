import pytest

from forgemesh.orchestrator.settings import OrchestratorSettings


def test_the_number_of_calls_in_flight_is_bounded_unless_somebody_says_otherwise() -> None:
    assert OrchestratorSettings().max_in_flight == 10_000
    assert OrchestratorSettings(max_in_flight=0).max_in_flight == 0


def test_a_negative_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="max_in_flight = -1 is below 0"):
        OrchestratorSettings(max_in_flight=-1)


def test_a_family_has_room_for_its_root_at_least() -> None:
    assert (OrchestratorSettings().max_family_depth, OrchestratorSettings().max_family_members) == (16, 10_000)
    with pytest.raises(ValueError, match="are at least 1"):
        OrchestratorSettings(max_family_depth=0)
    with pytest.raises(ValueError, match="are at least 1"):
        OrchestratorSettings(max_family_members=0)
