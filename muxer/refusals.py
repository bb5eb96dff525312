"""What is refused before anybody asks what the request wants: the branch `Unread` of the tree in errors.py."""

from muxer.errors import InvalidRequest


class Unread(InvalidRequest):
    """The request is not looked into: as HTTP it is broken, too large or too slow, or its JSON can be read two ways."""


class BadHTTP(Unread):
    """What came is not HTTP as the standard has it, or could be taken for two different requests (B1, B3)."""

    code = "bad_http"
    closes = True
    is_suspicious = True


class HTTPVersionUnsupported(Unread):
    """Neither HTTP/1.0 nor HTTP/1.1 (B2)."""

    status = 505
    code = "http_version"
    closes = True


class HeadersTooLarge(Unread):
    """The request line, a header, or their number is beyond reason (B4)."""

    status = 431
    code = "headers_too_large"
    closes = True


class HeadersTimeout(Unread):
    """The head of the request did not come in time (B5)."""

    status = 408
    code = "headers_timeout"
    closes = True


class BodyTimeout(Unread):
    """The body did not come in time (B6)."""

    status = 408
    code = "body_timeout"
    closes = True


class ExpectationFailed(Unread):
    """`Expect` asks for something other than `100-continue` (B11)."""

    status = 417
    code = "expectation_failed"
    closes = True


class DuplicateKey(Unread):
    """An object has a name twice: we might price the one value while the upstream runs the other (B19)."""

    code = "duplicate_key"
    is_suspicious = True


class InvalidNumber(Unread):
    """A number that is none, or that no number type holds (B20)."""

    code = "invalid_number"


class TooComplex(Unread):
    """The body is nested too deeply, or has too many values (B21)."""

    code = "too_complex"


class ForbiddenParameter(Unread):
    """A name by which libraries let a request choose the host, the key or code (B22)."""

    code = "forbidden_parameter"
    is_suspicious = True
