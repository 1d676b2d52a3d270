"""What this server says no with; each message is one sentence for the person who asked."""

CODES = {
    400: "BAD_REQUEST",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "REQUEST_TOO_LARGE",
    500: "INTERNAL_ERROR",
    503: "NOT_READY",
}


class CannotServe(Exception):
    """The server will not start: its model or its address is not fit for use."""


class RequestRefused(Exception):
    """This request gets an error, all of it; other requests go on."""

    def __init__(self, message: str, status: int = 400):
        self.message = message
        self.status = status
        super().__init__(message)
