import importlib

from google.protobuf.descriptor import FileDescriptor

from tests.architecture.repository import GENERATED


def files() -> list[FileDescriptor]:
    paths = [path.relative_to(GENERATED).with_suffix("") for path in sorted(GENERATED.rglob("*_pb2.py"))]
    return [importlib.import_module(".".join(path.parts)).DESCRIPTOR for path in paths]


def test_every_rpc_says_whether_it_may_be_repeated() -> None:
    services = [service for file in files() for service in file.services_by_name.values()]
    methods = [method for service in services for method in service.methods]
    silent = [method.full_name for method in methods if not method.GetOptions().HasField("idempotency_level")]

    assert methods
    assert silent == []


def test_no_message_carries_data_as_struct() -> None:
    """It turns integers above 2^53 into other numbers; `payload.v1.Payload` keeps them."""
    imports = {file.name: {imported.name for imported in file.dependencies} for file in files()}

    assert [name for name in imports if "google/protobuf/struct.proto" in imports[name]] == []
