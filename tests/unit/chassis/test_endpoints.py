import pytest

from forgemesh.chassis.telemetry import endpoints


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["127.0.0.1:7405", ""], ["127.0.0.1:7405"]),
        (["", ""], []),
        (["127.0.0.1:7405", "http://collector:4317/"], ["127.0.0.1:7405", "collector:4317"]),
        (["collector:4317", "http://collector:4317"], ["collector:4317"]),
    ],
)
def test_each_endpoint_is_named_once_without_its_scheme(given: list[str], wanted: list[str]) -> None:
    assert endpoints(*given) == wanted
