"""A rule for a part of the traffic: who is in it, who is not, and that both can be told apart."""

from hypothesis import given
from hypothesis import strategies as st

from muxer.draws import is_drawn
from muxer.estimates import Estimates
from muxer.plans import Plan, Rules
from muxer.records import reopened
from muxer.routing import asked, plan
from muxer.types import Caller
from tests.proxy import OpenProxy
from tests.test_routing import a_question, a_route, names, some_rules

TRIAL = some_rules(a_route("trial", ("a",), when="chars < 100", share=0.25), a_route("rest", ("b",)))
MODELS = """
  a: {provider: main, price: free}
  b: {provider: main, price: free}"""
ROUTES = "[{name: trial, use: [a], share: 50%}, {name: rest, use: [b]}]"


def decided(conversation: str, rules: Rules = TRIAL, requested: str = "auto", id: str = "req_1") -> Plan:
    return plan(rules, a_question(requested=requested, conversation=conversation, id=id))


def test_a_share_takes_its_part_of_the_conversations_and_leaves_the_others_to_the_next_rules() -> None:
    found = [decided(str(number)) for number in range(2_000)]
    in_it = [one for one in found if one.route == "trial"]
    assert 0.22 < len(in_it) / len(found) < 0.28
    assert {(one.branch, *names(one)) for one in in_it} == {("trial", "a")}
    assert {(one.route, one.branch, *names(one)) for one in found if one not in in_it} == {("rest", "not trial", "b")}


@given(st.text(), st.text())
def test_each_turn_of_a_conversation_is_on_the_same_side(conversation: str, id: str) -> None:
    assert decided(conversation, id=id).route == decided(conversation, id="another").route


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_keeps_whom_a_smaller_one_has(seed: str, one: float, other: float) -> None:
    assert is_drawn(max(one, other), seed) >= is_drawn(min(one, other), seed)
    assert is_drawn(1, seed) and not is_drawn(0, seed)


def test_what_a_rule_does_not_match_is_on_neither_side() -> None:
    long = plan(TRIAL, a_question("H" * 100))
    assert (long.route, long.branch) == ("rest", "")


def test_the_branch_names_every_share_that_was_met() -> None:
    rules = some_rules(a_route("x", share=0.5), a_route("y", share=0.5), a_route("rest"))
    found = {decided(str(number), rules).branch for number in range(100)}
    assert found == {"x", "not x, y", "not x, not y"}


def test_two_shares_draw_independently() -> None:
    def drawn(name: str) -> list[bool]:
        return [
            decided(str(number), some_rules(a_route(name, share=0.5), a_route("z"))).route == name for number in ids
        ]

    ids = range(400)
    assert 140 < sum(one == other for one, other in zip(drawn("x"), drawn("y"), strict=True)) < 260


def test_who_names_the_route_is_not_drawn_for() -> None:
    found = [decided(str(number), requested="auto:trial") for number in range(40)]
    assert {(one.route, one.branch) for one in found} == {("trial", "")}


def test_the_reason_says_that_it_is_a_share() -> None:
    found = next(one for number in range(100) if (one := decided(str(number))).route == "trial")
    assert found.reason == "rule trial: chars < 100, in its share of 25 %"


def test_a_rule_that_holds_and_is_not_drawn_does_not_decide() -> None:
    question = next(
        one for n in range(100) if plan(TRIAL, one := a_question(conversation=str(n))).branch == "not trial"
    )
    told = [(rule.name, rule.holds, rule.is_drawn, rule.decides) for _, rule in asked(TRIAL, question)]
    assert told == [("trial", True, False, False), ("rest", True, None, True)]


async def test_a_record_names_the_branch_and_is_decided_again_alike(proxy: OpenProxy) -> None:
    running = await proxy(models=MODELS, routes=ROUTES, limits="[]")
    records = [await running.record(await running.chat(model="auto", user=str(one))) for one in range(2)]
    assert records[0].branch == records[1].branch
    found = set()
    for number in range(20):
        body = {"messages": [{"role": "user", "content": f"Hi {number}"}]}
        record = await running.record(await running.post(body))
        again = plan(
            running.assembly.parts.rules,
            reopened(record, Caller(key=record.key, user=record.user), Estimates(), record.affinity),
        )
        assert (again.route, again.branch) == (record.route, record.branch)
        told = await (await running.ask("/v1/route", body)).json()
        assert (told["branch"], told["conversation"]) == (record.branch, record.conversation)
        found.add((record.branch, record.model))
    assert found == {("trial", "a"), ("not trial", "b")}
