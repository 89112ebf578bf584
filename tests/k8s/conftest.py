"""The cluster that the lane has started, and the example in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.k8s.live.cluster import Cluster
from tests.k8s.live.mesh import ClusterMesh, running_example

if "FORGEMESH_CLUSTER" not in os.environ:  # make test-k8s starts one
    collect_ignore_glob = ["live/test_*.py", "full/test_*.py"]


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """What tests/k8s/lane.sh has started."""
    return Cluster(Path(os.environ["FORGEMESH_CLUSTER"]))


@pytest.fixture(scope="session")
def mesh(cluster: Cluster) -> Iterator[ClusterMesh]:
    """The overlay `example`, applied, with every pod ready."""
    with running_example(cluster) as found:
        yield found
