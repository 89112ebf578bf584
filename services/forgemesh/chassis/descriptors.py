"""How many files and sockets this process may have open, and who gets how many of them."""

from __future__ import annotations

import logging
import resource

_log = logging.getLogger(__name__)

MOST = 1 << 20
"""More than this is not asked for, however much the system would give."""

FEWEST = 64
"""With fewer a process fails here and there before it serves: in its loop, its database, or in gRPC's own code."""


def too_few_descriptors() -> str:
    """Why this process cannot work with the descriptors that it may have; empty if it can."""
    limit = descriptor_limit()
    if limit >= FEWEST:
        return ""
    return f"at most {limit} files may be open here, and {FEWEST} are needed: start it with `ulimit -n 1024`, or more"


def raise_descriptor_limit() -> int:
    """Take as many descriptors as the hard limit allows; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:
            _log.warning("the limit of open files stays at %d: %s", soft, error)
    return descriptor_limit()


def descriptor_limit() -> int:
    """How many descriptors this process may have open now."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else min(soft, MOST)


def callers_share(limit: int) -> int:
    """Of `limit` descriptors, those for connections that others open to the main port."""
    return max(16, limit * 3 // 8)


def health_share(limit: int) -> int:
    """Of `limit` descriptors, those for connections to the health port."""
    return max(16, limit // 8)


def instances_share(limit: int) -> int:
    """
    Of `limit` descriptors, those for connections that are opened to instances, one each.

    What is left is for databases, logs and the other services.
    """
    return max(16, limit * 5 // 16)
