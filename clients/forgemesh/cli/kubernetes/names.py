"""What the objects of a plugin are called: DNS labels and values of labels, each of one plugin and version alone."""

from __future__ import annotations

import hashlib
import re

LONGEST = 46
"""Characters of the name of a workload: what is made for it has a longer one, and is a DNS label as well."""
_LONGEST_LABEL = 63
_DIGITS = 10
_PLAIN_ID = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")
_RELEASE = re.compile(r"\d+\.\d+\.\d+")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_DNS_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")


def is_dns_label(text: str) -> bool:
    """Whether it can be the name of a namespace, and of most things in one (RFC 1123)."""
    return len(text) <= _LONGEST_LABEL and _DNS_LABEL.fullmatch(text) is not None


def workload_name(plugin_id: str, version: str) -> str:
    """
    The name of the Deployment that serves a version: weather.stats 1.2.0 is plugin-weather-stats-v1-2-0.

    A dash in an id is doubled, because a point becomes one. What has no such name that could be read back, a
    prerelease above all, has a digest at its end.
    """
    written = f"plugin-{_dashed(plugin_id)}-v{version.replace('.', '-')}"
    if _PLAIN_ID.fullmatch(plugin_id) and _RELEASE.fullmatch(version) and len(written) <= LONGEST:
        return written
    return _cut(written, LONGEST, f"{plugin_id} {version}")


def account_name(plugin_id: str) -> str:
    """The name of the service account that all versions of a plugin have."""
    written = f"plugin-{_dashed(plugin_id)}"
    if _PLAIN_ID.fullmatch(plugin_id) and len(written) <= LONGEST:
        return written
    return _cut(written, LONGEST, plugin_id)


def name_with_content(name: str, content: str) -> str:
    """A name that changes with what it names, for what cannot be changed in its place or is not to be."""
    return f"{name}-{digest(content)[:8]}"


def label_value(text: str) -> str:
    """A plugin's id or version as the value of a label; + becomes _, which no version has, and no id has a +."""
    written = text.replace("+", "_")
    if _LABEL_VALUE.fullmatch(written) and len(written) <= _LONGEST_LABEL:
        return written
    return f"{written[: _LONGEST_LABEL - _DIGITS - 2].rstrip('._-')}-x{digest(text)}"


def digest(text: str) -> str:
    """Ten hex digits that stand for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _dashed(plugin_id: str) -> str:
    return plugin_id.replace("-", "--").replace(".", "-")


def _cut(written: str, longest: int, whole: str) -> str:
    """No plain name ends like this: after its last dash that has digits alone."""
    kept = re.sub(r"[^a-z0-9-]", "-", written.lower())[: longest - _DIGITS - 2]
    return f"{kept.rstrip('-')}-x{digest(whole)}"
