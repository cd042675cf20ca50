"""Which addresses there are, and who may use them."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.localhub.amqp.node import LinkError, Message

from .service import HOST, FakePeer, Service, ask, finish

READ = "masthead/ConsumerGroups/$Default/Partitions/0"


def _refused(tmp_path: Path, kind: str, address: str, policy: str | None = "service") -> LinkError:
    async def attach() -> LinkError:
        with Service(tmp_path) as service:
            with pytest.raises(LinkError) as error:
                await getattr(service, kind)(address, FakePeer(policy))
            return error.value

    return finish(attach())


@pytest.mark.parametrize(
    "address",
    [
        "",
        "/",
        "masthead",
        "messages",
        "messages/devicebound",
        "messages/servicebound/filenotifications",
        "other/$management",
        "other/ConsumerGroups/$Default/Partitions/0",
        "masthead/ConsumerGroups/$Default/Partitions",
        "masthead/ConsumerGroups/nobody/Partitions/0",
        "masthead/ConsumerGroups/$Default/Partitions/4",
        "masthead/ConsumerGroups/$Default/Partitions/-1",
        "masthead/ConsumerGroups/$Default/Partitions/one",
        "amqps://localhost",
        "\0" * 5000,
    ],
)
def test_an_unknown_address_is_a_link_error(tmp_path: Path, address: str) -> None:
    """So are a partition and a group that are not there; the text names both it and what there is."""
    error = _refused(tmp_path, "spring", address)
    assert error.condition == "amqp:not-found"
    assert "there are" in error.description
    assert len(error.description) < 2000


@pytest.mark.parametrize(
    "address", ["", "messages/servicebound/feedback", READ, "devices/mast-1", "x/$management"]
)
def test_not_everything_takes_messages(tmp_path: Path, address: str) -> None:
    """What only gives messages is no address to send to."""
    assert _refused(tmp_path, "sink", address).condition == "amqp:not-found"


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        ("sink", "/messages/devicebound"),
        ("spring", "/messages/servicebound/feedback"),
        ("spring", "/messages/events"),
        ("sink", "/messages/events/$management"),
        ("spring", READ),
    ],
)
@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (None, "no token"),
        ("device", "policy 'device' lacks the right ServiceConnect"),
        ("registryReadWrite", "lacks the right ServiceConnect"),
    ],
)
def test_the_right_to_connect_services_is_needed(
    tmp_path: Path, kind: str, address: str, policy: str | None, said: str
) -> None:
    """The link is refused before anything else is told, and the refusal says what is missing."""
    error = _refused(tmp_path, kind, address, policy)
    assert (error.condition, said in error.description) == ("amqp:unauthorized-access", True)


def test_an_expired_token_is_none(tmp_path: Path) -> None:
    """A link that comes after the end of the token is refused."""

    async def attach() -> None:
        with Service(tmp_path) as service:
            peer = FakePeer("service", service.clock.wall())
            with pytest.raises(LinkError, match="the token of policy 'service' has expired"):
                await service.sink("/messages/devicebound", peer)

    finish(attach())


@pytest.mark.parametrize(
    ("address", "rest"),
    [
        ("messages/events", ""),
        ("/messages/events", ""),
        ("amqps://localhost/messages/events/$management", "/$management"),
        (
            "/messages/events/ConsumerGroups/$Default/Partitions/3",
            "/ConsumerGroups/$Default/Partitions/3",
        ),
        ("/Messages/Events/ConsumerGroups/%24Default/Partitions/3", "/ConsumerGroups/$Default/Partitions/3"),
    ],
)
def test_events_are_elsewhere(tmp_path: Path, address: str, rest: str) -> None:
    """Their address at the hub leads to the same at the event hub, with what it takes to go there."""
    error = _refused(tmp_path, "spring", address)
    assert error.condition == "amqp:link:redirect"
    assert error.info == {
        "hostname": HOST,
        "network-host": HOST,
        "port": 15671,
        "address": f"amqps://localhost:15671/masthead{rest}",
    }


@pytest.mark.parametrize("address", ["messages/DeviceBound", "amqps://localhost:5671/messages/devicebound"])
def test_addresses_have_many_forms(tmp_path: Path, address: str) -> None:
    """With or without a host and a slash, in any case."""

    async def attach() -> None:
        with Service(tmp_path) as service:
            sink = await service.sink(address)
            sink.close()

    finish(attach())


def _put(token: object, *, message_id: object = "1", **asked: object) -> Message:
    properties = {
        "operation": "put-token",
        "type": "servicebus.windows.net:sastoken",
        "name": "sb://localhost/masthead",
    }
    return Message(
        value=token, properties={"message-id": message_id}, application_properties=properties | asked
    )


@pytest.mark.parametrize("scope", ["localhost", "sb://localhost/masthead", "localhost:15671/messages/events"])
def test_a_token_proves_a_policy(tmp_path: Path, scope: str) -> None:
    """The reply is 200, as an int, with the request's id; until it ends the peer is of the policy."""

    async def run() -> None:
        with Service(tmp_path) as service:
            peer = FakePeer()
            spring = await service.spring("$cbs", peer, reply_address="$cbs")
            sink = await service.sink("$cbs", peer)
            reply = await ask(sink, spring, _put(service.token(scope=scope), name=scope, message_id=b"\1"))
            assert reply.application_properties["status-code"] == 200
            assert reply.application_properties["status-description"] == "OK"
            assert type(reply.application_properties["status-code"]).__name__ == "Int"
            assert reply.properties == {"correlation-id": b"\1"}
            assert (peer.policy, peer.policy_until_s) == ("service", int(service.clock.wall()) + 3600)

    finish(run())


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"token": "SharedAccessSignature sr=localhost"}, 401, "no shared access signature"),
        ({"token": None}, 401, "no shared access signature"),
        ({"token": ""}, 401, "the body is no token"),
        ({"token": {"a": 1}}, 401, "the body is no token but dict"),
        ({"token": b"\xff"}, 401, "no shared access signature"),
        ({"policy": "nobody"}, 401, "no policy 'nobody'"),
        ({"scope": "elsewhere"}, 401, "another hub's"),
        ({"ttl_s": -5}, 401, "the token expired 5 s ago"),
        ({"type": "jwt"}, 400, "token type 'jwt'"),
        ({"type": None}, 400, "token type None"),
        ({"operation": "delete-token"}, 400, "operation 'delete-token'"),
        ({"name": None}, 400, "name None"),
        ({"name": "sb://elsewhere/masthead"}, 401, "another hub's"),
        ({"scope": "localhost/messages/events"}, 401, "which is not for 'masthead'"),
        ({"scope": "localhost/masthead", "name": "localhost"}, 401, "which is not for ''"),
        ({"scope": "localhost/masthead", "name": "localhost/masthead2"}, 401, "not for 'masthead2'"),
    ],
)
def test_a_bad_token_changes_nothing(
    tmp_path: Path, change: dict[str, object], status: int, said: str
) -> None:
    """The reply says why, and what the peer had proved before holds on."""

    async def run() -> None:
        with Service(tmp_path) as service:
            spring = await service.spring("$cbs")
            sink = await service.sink("$cbs")
            made = {k: v for k, v in change.items() if k in ("policy", "scope", "ttl_s")}
            asked = {k: v for k, v in change.items() if k in ("type", "operation", "name")}
            token = change.get("token", service.token(**made))  # type: ignore[arg-type]
            request = _put(token, **asked)
            if token is None:
                request.body = b"SharedAccessSignature"
            reply = await ask(sink, spring, request)
            assert reply.application_properties["status-code"] == status
            assert said in reply.application_properties["status-description"]
            assert service.peer.policy == "service"

    finish(run())


@pytest.mark.parametrize(
    ("name", "kind", "address", "allowed"),
    [
        ("sb://localhost/masthead", "spring", "masthead/ConsumerGroups/$Default/Partitions/0", True),
        (
            "localhost/Masthead/ConsumerGroups",
            "spring",
            "masthead/ConsumerGroups/$Default/Partitions/0",
            True,
        ),
        ("localhost%2Fmessages", "sink", "/messages/devicebound", True),
        ("localhost:5671", "sink", "/messages/devicebound", True),
        ("sb://localhost/masthead", "sink", "/messages/devicebound", False),
        ("sb://localhost/masthead", "spring", "/messages/events", False),
        ("localhost/messages/devicebound", "spring", "/messages/servicebound/feedback", False),
        ("localhost/messages", "spring", "masthead/ConsumerGroups/$Default/Partitions/0", False),
    ],
)
def test_a_token_is_for_what_it_was_put_for(
    tmp_path: Path, name: str, kind: str, address: str, allowed: bool
) -> None:
    """And for what is below that, though it was signed for all of the hub."""

    async def run() -> None:
        with Service(tmp_path) as service:
            peer = FakePeer()
            spring, sink = await service.spring("$cbs", peer), await service.sink("$cbs", peer)
            reply = await ask(sink, spring, _put(service.token(), name=name))
            assert reply.application_properties["status-code"] == 200
            attach = getattr(service, kind)
            if allowed:
                (await attach(address, peer)).close()
                return
            with pytest.raises(LinkError, match=r"the token is for .* and not for ") as error:
                await attach(address, peer)
            assert error.value.condition == "amqp:unauthorized-access"

    finish(run())


@pytest.mark.parametrize("first", ["spring", "sink"])
def test_each_pair_of_links_gets_its_own_replies(tmp_path: Path, first: str) -> None:
    """Also where several pairs of one connection have the same names, in either order of attaching."""

    async def run() -> None:
        with Service(tmp_path) as service:
            pairs = []
            for _ in range(3):
                if first == "spring":
                    spring = await service.spring("$cbs", reply_address="$cbs")
                    pairs.append((await service.sink("$cbs"), spring))
                else:
                    sink = await service.sink("$cbs")
                    pairs.append((sink, await service.spring("$cbs", reply_address="$cbs")))
            for n, (sink, spring) in enumerate(pairs):
                request = _put(service.token(), message_id=n)
                request.properties["reply-to"] = "$cbs"
                reply = await ask(sink, spring, request)
                assert reply.properties["correlation-id"] == n

    finish(run())


def test_a_request_may_name_another_link(tmp_path: Path) -> None:
    """Its reply goes there; one that names no link that there is, goes where the others go."""

    async def run() -> None:
        with Service(tmp_path) as service:
            spring = await service.spring("$cbs", reply_address="$cbs")
            sink = await service.sink("$cbs")
            other = await service.spring("$cbs", reply_address="me")
            for name, expected in (("me", other), ("nobody", spring), (5, spring)):
                request = _put(service.token())
                request.properties["reply-to"] = name
                await ask(sink, expected, request)

    finish(run())


def test_links_come_and_go(tmp_path: Path) -> None:
    """A new link for replies takes the place of one that was closed; of closed ones nothing is kept."""

    async def run() -> None:
        with Service(tmp_path) as service:
            sink = await service.sink("$cbs")
            for _ in range(3):
                spring = await service.spring("$cbs")
                await ask(sink, spring, _put(service.token()))
                spring.close()
            sink.close()
            links = service.peer.state["links of $cbs"]
            assert (links.boxes, links.sinks) == ([], [])

    finish(run())


def test_who_reads_no_replies_is_stopped(tmp_path: Path) -> None:
    """After sixteen, requests are rejected and not done; those whose replies nobody wants are done."""

    async def run() -> None:
        with Service(tmp_path) as service:
            sink = await service.sink("$cbs")
            request = _put(service.token())
            for _ in range(20):
                assert (await sink.take(request)).state == "accepted"
                await sink.after(request)
            spring = await service.spring("$cbs")
            for _ in range(16):
                assert (await sink.take(request)).state == "accepted"
                await sink.after(request)
            outcome = await sink.take(request)
            assert (outcome.state, outcome.condition) == ("rejected", "amqp:resource-limit-exceeded")
            await spring.next()
            assert (await sink.take(request)).state == "accepted"

    finish(run())


def test_a_connection_has_a_bounded_number_of_reply_links(tmp_path: Path) -> None:
    """The next one is refused."""

    async def run() -> None:
        with Service(tmp_path) as service:
            for _ in range(64):
                await service.spring("$cbs")
            with pytest.raises(LinkError, match="64 links read from"):
                await service.spring("$cbs")

    finish(run())
