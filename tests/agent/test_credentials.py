"""Where the device's connection string comes from, and what it must say."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.cloud.credentials import VARIABLE, CredentialError, find, parse

KEY = "c2VjcmV0IHNlY3JldCBzZWNyZXQ="
TEXT = f"HostName=hub.example;DeviceId=mast-1;SharedAccessKey={KEY}"


def secret_file(folder: Path, text: str = TEXT, mode: int = 0o600) -> Path:
    path = folder / "connection-string"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_environment_goes_first(tmp_path: Path) -> None:
    """Then systemd's credential, then the file."""
    other = secret_file(tmp_path, TEXT.replace("mast-1", "mast-2"))
    (tmp_path / "own").mkdir()
    own = secret_file(tmp_path / "own", TEXT.replace("mast-1", "mast-3"))
    environment = {VARIABLE: TEXT, "CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert find(str(own), environment).device_id == "mast-1"
    del environment[VARIABLE]
    credential = find(str(own), environment)
    assert (credential.device_id, credential.source) == ("mast-2", "systemd credential connection-string")
    other.unlink()
    credential = find(str(own), environment)
    assert (credential.device_id, credential.source) == ("mast-3", str(own))


def test_none_at_all_names_every_place() -> None:
    """The person learns what can be set."""
    with pytest.raises(
        CredentialError, match=r"set IOTHUB_DEVICE.*connection_string_file.*connection-string"
    ):
        find(None, {})


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """With the command that mends it."""
    path = secret_file(tmp_path, mode=0o640)
    with pytest.raises(CredentialError, match=f"can be read by others: chmod 600 {path}"):
        find(str(path), {})


@pytest.mark.parametrize(("content", "reason"), [(None, "No such file"), (b"\xff", "not a text file")])
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, content: bytes | None, reason: str) -> None:
    """Missing, or no text."""
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CredentialError, match=reason):
        find(str(path), {})


def test_white_space_and_a_byte_order_mark_do_no_harm() -> None:
    """As editors leave them; the parts may come in any order."""
    credential = parse(f"\ufeff SharedAccessKey={KEY}; DeviceId=d;HostName=h;GatewayHostName=g \r\n", "x")
    assert (credential.host_name, credential.device_id, credential.address) == ("h", "d", "g")
    assert credential.connection_string == f"SharedAccessKey={KEY};DeviceId=d;HostName=h;GatewayHostName=g"
    assert parse(f"{TEXT};", "x").connection_string == TEXT
    assert parse(TEXT, "x").address == "hub.example"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (TEXT.replace("DeviceId=mast-1", "SharedAccessKeyName=owner"), "service connection string"),
        (TEXT + ";ModuleId=m", "a module's connection string"),
        (TEXT.replace("DeviceId=mast-1;", ""), "no DeviceId in it"),
        (TEXT.replace("hub.example", ""), "no HostName in it"),
        (TEXT.split(";SharedAccessKey", maxsplit=1)[0], "no SharedAccessKey in it"),
        (TEXT[:-3], "not base64: was it cut"),
        (TEXT.replace("c2Vj", "ключ"), "not base64"),
        ("nonsense", "no HostName in it"),
        (KEY, "no connection string; expected HostName"),
        (f"{KEY};HostName=h", "no connection string; expected HostName"),
        (TEXT.replace("HostName", "Hostname"), "Hostname is unknown, did you mean 'HostName'"),
        (f"{TEXT}\n{TEXT}", "not base64|stands in it twice"),
        (f"{TEXT};DeviceId=other", "DeviceId stands in it twice"),
        (TEXT.replace("hub.example", "https://hub.example/"), "is no host's name"),
        (TEXT.replace("hub.example", "<your hub>"), "is no host's name"),
        (TEXT.replace("mast-1", "mast 1"), "can be no device's id"),
        (f"SharedAccessSignature sr=h%2Fdevices%2Fd&sig={KEY}&se=1", "a SAS token ends"),
    ],
)
def test_what_is_wrong_is_said_without_the_secret(text: str, reason: str) -> None:
    """Each slip has its own line, and none shows the key."""
    with pytest.raises(CredentialError, match=reason) as refused:
        parse(text, "$X")
    assert str(refused.value).startswith("$X: ")
    assert KEY[4:20] not in str(refused.value)


def test_the_key_is_in_no_repr() -> None:
    """A credential may be logged."""
    assert KEY not in repr(parse(TEXT, "x"))


@pytest.mark.parametrize("device_id", ["a+b", "a#b"])
def test_a_device_id_that_mqtt_cannot_carry(device_id: str) -> None:
    """Azure knows such ids, and no device can subscribe with one: that is said before anything is tried."""
    with pytest.raises(CredentialError, match="another id"):
        parse(f"HostName=h;DeviceId={device_id};SharedAccessKey=c2VjcmV0", "test")
