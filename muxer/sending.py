"""What a candidate is sent: the request as it came, with what the configuration and the grant change of it. Pure."""

from msgspec import Struct
from msgspec.structs import replace

from muxer.attempts import most_bytes
from muxer.inbound import Inbound
from muxer.judging import sent_cap
from muxer.plans import Candidate, Question, Rules
from muxer.types import Call


class Sent(Struct, frozen=True, kw_only=True):
    """A call, `lowered_cap` where its grant pays for less than the cap we would have inserted (S4), and `most_bytes`,
    which no answer within the cap passes (B59)."""

    call: Call
    lowered_cap: int | None
    most_bytes: int | None


def sent_to(candidate: Candidate, granted_nanos: int, rules: Rules, question: Question, inbound: Inbound) -> Sent:
    """The call for a candidate under a grant of that many nano-dollars."""
    request, needs = inbound.request, question.measured.needs
    changes: dict[str, object] = {}
    temperature = rules.defaults.temperature
    if request.temperature is None and temperature is not None and candidate.model.takes_sampling:
        request, changes = replace(request, temperature=temperature), {"temperature": temperature}
    cap = sent_cap(candidate, granted_nanos, needs)
    return Sent(
        call=Call(
            id=question.id,
            api=inbound.sent_api,
            raw=inbound.raw,
            request=request,
            model=candidate.model.upstream,
            output_cap=cap,
            takes_sampling=candidate.model.takes_sampling,
            strict=rules.strict,
            changes=changes,
            untranslated=inbound.untranslated,
            headers=inbound.headers,
        ),
        lowered_cap=None if candidate.inserted_cap in (None, cap) else cap,
        most_bytes=None if cap is None else most_bytes(cap * needs.n, len(inbound.raw)),
    )
