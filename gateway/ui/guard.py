"""Who may ask the page's server: programs and the page that know the token, and nobody's website.

The files of the page say nothing of the stack and need no token; everything under /api does. The token comes
to the page in the fragment of its address, which browsers send to nobody, and goes back in a header, which
no other site can set without being asked first (CORS) and being told no.
"""

from __future__ import annotations

import hmac

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kit.websites import why_foreign

TOKEN = "x-simfleet-token"  # the header that carries it
_API = "/api/"
# The page runs its own files only, asks nobody else, and stands in nobody's frame.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


def guarded(app: ASGIApp, token: str) -> ASGIApp:
    """`app` for those who may; 403 for web pages of others, 401 without the token."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refusal = _refusal(scope, token)
        await (refusal or app)(scope, receive, _with_headers(send))

    return call


def _refusal(scope: Scope, token: str) -> JSONResponse | None:
    if why := why_foreign(scope["headers"]):
        return JSONResponse({"error": why}, 403)
    if not str(scope["path"]).startswith(_API):
        return None
    given = dict(scope["headers"]).get(TOKEN.encode(), b"")
    if hmac.compare_digest(given, token.encode()):
        return None
    why = f"{TOKEN} is missing or wrong; open the address that `simfleet ui` prints"
    return JSONResponse({"error": why}, 401)


def _with_headers(send: Send) -> Send:
    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *_HEADERS]
        await send(message)

    return told
