import json

import pytest

from forgemesh.faults.supervisor import ConfigInvalid
from forgemesh.plugin_host.supervisor.changes.reconfigurer import check


@pytest.mark.parametrize("depth", [51, 950, 100_000])
def test_a_configuration_that_is_nested_too_deep_is_refused(depth: int) -> None:
    with pytest.raises(ConfigInvalid, match="nested deeper than 50"):
        check("shop", '{"a":' * depth + "1" + "}" * depth, '{"type": "object"}')


def test_what_is_held_to_a_schema_may_be_fifty_deep() -> None:
    check(
        "shop", '{"a":' * 50 + "1" + "}" * 50, '{"additionalProperties": {"$ref": "#"}, "type": ["object", "integer"]}'
    )


def test_a_schema_that_refers_to_itself_without_end_fits_nothing() -> None:
    with pytest.raises(ConfigInvalid, match="without end"):
        check("shop", "{}", '{"$ref": "#"}')


def test_a_schema_that_asks_for_too_much_work_is_told() -> None:
    chain = {f"d{number}": {"allOf": [{"$ref": f"#/$defs/d{number + 1}"}] * 2} for number in range(40)}
    schema = {"$defs": {**chain, "d40": {}}, "$ref": "#/$defs/d0"}

    with pytest.raises(ConfigInvalid, match="takes too much work to check this"):
        check("shop", "{}", json.dumps(schema))
