from dataclasses import replace
from typing import Any

import pytest

from forgemesh.chassis.service import ServiceSettings


@pytest.mark.parametrize("name", ["grace", "drain_delay"])
@pytest.mark.parametrize("length", [-1.0, float("nan"), float("inf"), 86_401.0])
def test_a_time_for_the_end_that_no_process_has_is_refused_by_name(name: str, length: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} = .* is not between 0 and 86400 seconds"):
        replace(ServiceSettings(listen="127.0.0.1:0", health_listen="127.0.0.1:0"), **{name: length})
