"""Errors of this server; each message is one sentence for the client or the person who started it."""

CODES = {
    400: "BAD_REQUEST",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "REQUEST_TOO_LARGE",
    500: "INTERNAL_ERROR",
    503: "NOT_READY",
}


class CannotServe(Exception):
    """The server will not start: its model or its address cannot be used."""


class RequestRefused(Exception):
    """The whole request is refused with this HTTP status; other requests are not affected."""

    def __init__(self, message: str, status: int = 400):
        self.message = message
        self.status = status
        super().__init__(message)
