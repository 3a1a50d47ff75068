"""What both clients do with httpx, but for the request itself."""
from __future__ import annotations

import os
from pathlib import Path

import httpx

from ._wire import Answer, Call, Lost
from .errors import LonghaulError

# Beyond what an answer may be held.
PATIENCE_S = 30.0
# Shorter than the API keeps a connection: a request does not meet one that is being closed.
LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=5)
# The request has not reached the API.
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


def address(url: str | None) -> str:
    found = url or os.environ.get("LONGHAUL_URL")
    if not found:
        raise LonghaulError("no address: give url, or set LONGHAUL_URL")
    if not found.startswith(("http://", "https://")):
        raise LonghaulError(f"the address must begin with http:// or https://: {found}")
    return found.rstrip("/")


def headers(token: str | None) -> dict[str, str]:
    file = os.environ.get("LONGHAUL_TOKEN_FILE")
    found = token or os.environ.get("AUTH_TOKEN") or (Path(file).read_text().strip() if file else None)
    if not found:
        raise LonghaulError("no access token: give token, or set AUTH_TOKEN or LONGHAUL_TOKEN_FILE")
    return {"Authorization": f"Bearer {found}", "Content-Type": "application/json", "User-Agent": "longhaul-python/0.1.0"}


def timeout(call: Call) -> httpx.Timeout:
    return httpx.Timeout(PATIENCE_S, read=call.wait_s + PATIENCE_S)


def answer_of(response: httpx.Response) -> Answer:
    return Answer(response.status_code, response.headers, response.content)


def lost(error: httpx.TransportError) -> Lost:
    return Lost(error, isinstance(error, NOT_SENT))
