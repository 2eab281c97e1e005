"""Names as the API server checks them: of objects, of volumes and containers, of keys, and paths in volumes.

Rules: k8s.io/apimachinery/pkg/util/validation and k8s.io/kubernetes/pkg/apis/core/validation.
"""

from __future__ import annotations

import re

from kit.yamldoc import Cursor

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_MAX = 253
_RBAC_GROUP = "rbac.authorization.k8s.io"
_NAMED_BY_LABEL = {("", "Namespace"), ("", "Service")}
_LABEL_RULE = (
    "must be 1 to 63 lower-case letters, digits and '-', a letter or digit first and last (DNS-1123 label)"
)
_SUBDOMAIN_RULE = (
    "must be 1 to 253 lower-case letters, digits, '-' and '.', "
    "a letter or digit first, last and on both sides of a '.' (DNS-1123 subdomain)"
)
_KEY_RULE = "a key must be 1 to 253 letters, digits, '-', '_' and '.', and must not begin with '..' or be '.'"


def label(parent: Cursor, key: str) -> str:
    """The DNS-1123 label under `key`, as of a volume or container. ManifestError for any other text."""
    text = parent.text(key)
    if not _LABEL.fullmatch(text):
        raise parent.error(f"{_LABEL_RULE}, is {_shown(text)}", key)
    return text


def object_name(meta: Cursor, group: str, kind: str) -> str:
    """`metadata.name` of an object of this kind. Raises ManifestError for one that the API server refuses."""
    text = meta.text("name")
    if (group, kind) in _NAMED_BY_LABEL:
        return label(meta, "name")
    if group == _RBAC_GROUP:  # `system:auth-delegator`: these need only be one segment of a URL
        if text in {"", ".", ".."} or "/" in text or "%" in text:
            raise meta.error(
                f"must not be empty, '.' or '..', or contain '/' or '%', is {_shown(text)}", "name"
            )
    elif len(text) > _MAX or not _SUBDOMAIN.fullmatch(text):
        raise meta.error(f"{_SUBDOMAIN_RULE}, is {_shown(text)}", "name")
    return text


def check_keys(data: Cursor) -> None:
    """The keys of a ConfigMap's or Secret's data. Raises ManifestError for one that no file can have."""
    for key in data.value:
        if not _KEY.fullmatch(key) or key == "." or key.startswith(".."):
            raise data.error(f"{_KEY_RULE}, is {_shown(key)}", key)


def path_in_volume(parent: Cursor, key: str, default: str | None = None) -> str:
    """A path below a volume's root (`items[].path`, `subPath`). Raises ManifestError for any other."""
    text = parent.text(key) if default is None else parent.text(key, default)
    if text == default:
        return text
    if not text or text.startswith("/") or ".." in text.split("/") or "\0" in text:
        raise parent.error(f"must be a relative path without '..', is {_shown(text)}", key)
    return text


def item_path(parent: Cursor) -> str:
    """`items[].path` of a volume, which moreover must not begin with '..'; ManifestError where it does."""
    text = path_in_volume(parent, "path")
    if text.startswith(".."):
        raise parent.error(f"must not begin with '..', is {_shown(text)}", "path")
    return text


def mount_path(parent: Cursor) -> str:
    """`mountPath` of a volume mount; ManifestError where a cluster refuses it."""
    text = parent.text("mountPath")
    if not text or ":" in text or "\0" in text:
        raise parent.error(f"must not be empty or contain ':', is {_shown(text)}", "mountPath")
    return text


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
