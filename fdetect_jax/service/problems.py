"""What the API answers when something is wrong: problem documents of RFC 9457 with codes that do not change."""

from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

MEDIA_TYPE = "application/problem+json"
# code -> status, title
CODES = {
    "bad_request": (400, "The request cannot be read"),
    "key_wanted": (401, "An API key is wanted"),
    "key_unknown": (401, "The API key is unknown"),
    "forbidden": (403, "Not allowed from here"),
    "not_found": (404, "Not found"),
    "method_not_allowed": (405, "The method is not allowed"),
    "conflict": (409, "The idempotency key was used with other content"),
    "not_ready": (409, "The result is not there yet"),
    "too_large": (413, "The upload is too large"),
    "unsupported_media": (415, "The request is of the wrong media type"),
    "bad_range": (416, "The range is none of the file"),
    "invalid": (422, "A field is wrong"),
    "rate_limited": (429, "Too many jobs in a short time"),
    "quota_used": (429, "The quota is used"),
    "failed": (500, "The server failed"),
    "too_busy": (503, "The service is busy"),
}
_OF_STATUS = {400: "bad_request", 403: "forbidden", 404: "not_found", 405: "method_not_allowed"}


class Problem(Exception):
    """Ends a request with a problem document.

    code: one of ``CODES``. detail: a sentence for a reader. field: which one is wrong. retry_after: seconds.
    """

    def __init__(self, code: str, detail: str, *, field: str | None = None, retry_after: int | None = None):
        super().__init__(detail)
        self.code, self.detail, self.field, self.retry_after = code, detail, field, retry_after


def answer(problem: Problem) -> Response:
    """The response."""
    status, title = CODES[problem.code]
    body: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "code": problem.code}
    body["detail"] = problem.detail
    if problem.field is not None:
        body["field"] = problem.field
    headers = {} if problem.retry_after is None else {"Retry-After": str(problem.retry_after)}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, status, headers, MEDIA_TYPE)


async def of_problem(_: Request, error: Problem) -> Response:
    """Handler of ``Problem``."""
    return answer(error)


async def of_http(_: Request, error: HTTPException) -> Response:
    """Handler of what the framework refuses."""
    code = _OF_STATUS.get(error.status_code, "bad_request" if error.status_code < 500 else "failed")
    found = answer(Problem(code, "The address or the method is none of this API."))
    found.headers.update(error.headers or {})
    return found


async def of_validation(_: Request, error: RequestValidationError) -> Response:
    """Handler of parameters and bodies that do not fit; what was sent is not repeated."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:]) or None
    return answer(Problem("invalid", f"{first['msg']}.", field=field))


async def of_failure(_: Request, __: Exception) -> Response:
    """Handler of a fault of this program; its traceback goes to the log of the server."""
    return answer(Problem("failed", "This is a fault of the server; the job, if there is one, is not lost."))
