"""The test kit, for us and for plugin authors: a scripted upstream, contracts to inherit, small builders.

It needs pytest, pytest-asyncio (in its auto mode) and hypothesis, which `modelmuxer` alone does not install.
"""

import pytest

# Asserts in the contracts then explain themselves as those in test files do; pytest wants to hear it first.
pytest.register_assert_rewrite("muxer.testing.contracts")

from muxer.testing.behaviours import Behaviour, BillAndFail, Cut, Fail, Raw, Say, Slow, Stall  # noqa: E402
from muxer.testing.builders import ManualClock, a_call, a_record, a_request, open_context  # noqa: E402
from muxer.testing.calls import Act, Asked, Break, Format, Hears, Spoken, Step, Wait  # noqa: E402
from muxer.testing.contracts.authenticator import AuthenticatorContract  # noqa: E402
from muxer.testing.contracts.feedback import FeedbackContract  # noqa: E402
from muxer.testing.contracts.guard import GuardContract, a_visit, each_chunk  # noqa: E402
from muxer.testing.contracts.histories import HistoryContract, LedgerMachine, World, live_through  # noqa: E402
from muxer.testing.contracts.keyed import KeyedContract  # noqa: E402
from muxer.testing.contracts.keys import KeysContract, a_key  # noqa: E402
from muxer.testing.contracts.money import a_choice, a_claim, an_attempt  # noqa: E402
from muxer.testing.contracts.provider import ProviderContract, collected  # noqa: E402
from muxer.testing.contracts.signal import SignalContract  # noqa: E402
from muxer.testing.contracts.sink import SinkContract, some_records  # noqa: E402
from muxer.testing.contracts.store import StoreContract  # noqa: E402
from muxer.testing.upstream import ScriptedUpstream, UpstreamCall  # noqa: E402

__all__ = [
    "Act",
    "Asked",
    "AuthenticatorContract",
    "Behaviour",
    "BillAndFail",
    "Break",
    "Cut",
    "Fail",
    "FeedbackContract",
    "Format",
    "GuardContract",
    "Hears",
    "HistoryContract",
    "KeyedContract",
    "KeysContract",
    "LedgerMachine",
    "ManualClock",
    "ProviderContract",
    "Raw",
    "Say",
    "ScriptedUpstream",
    "SignalContract",
    "SinkContract",
    "Slow",
    "Spoken",
    "Stall",
    "Step",
    "StoreContract",
    "UpstreamCall",
    "Wait",
    "World",
    "a_call",
    "a_choice",
    "a_claim",
    "a_key",
    "a_record",
    "a_request",
    "a_visit",
    "an_attempt",
    "collected",
    "each_chunk",
    "live_through",
    "open_context",
    "some_records",
]
