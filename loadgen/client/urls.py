"""What a URL says besides host and port: who asks, and what may be shown of it."""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote, urlsplit


def without_user(url: str) -> str:
    """The URL without user name, password and query."""
    return re.sub(r"(://|^)[^/@]*@", r"\1", url.partition("?")[0])


def user_of(url: str) -> dict[str, str]:
    """The authorization header that the user name and password of a URL ask for, as clients send it."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
