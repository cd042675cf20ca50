"""What the agent says of itself: one snapshot for the socket, and its text for a person. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hw.clock import Clock

from . import __version__
from .commands.executor import Executor
from .commands.guard import Guard
from .forecast import Forecast
from .sampler import Sampler
from .timekeeping import BootClock, Timekeeper
from .uplink import LinkStatus, Uplink
from .writer import OutboxWriter


def snapshot(
    *,
    clock: Clock,
    started_boot_s: float,
    device_id: str | None,
    host: str | None,
    run: str,
    timekeeper: Timekeeper,
    samplers: list[Sampler],
    writer: OutboxWriter,
    uplink: Uplink | None,
    executor: Executor,
    guard: Guard,
    no_credential: str | None,
    forecast: Forecast,
) -> dict[str, Any]:
    """The agent now, as JSON: times are UTC texts, durations seconds."""
    now = clock.monotonic()
    wall = timekeeper.read()
    outbox = writer.status
    link = uplink.status if uplink is not None else None
    received = executor.last_received_boot_s
    busy = link is not None and (link.in_flight > 0 or (link.state == "up" and outbox.backlog > 0))
    return {
        "version": __version__,
        "deviceId": device_id,
        "hub": host,
        "run": run,
        "uptime": round(now - started_boot_s, 1),
        "time": wall.time_text(now),
        "timeQuality": wall.quality,
        "link": _link_part(link, now, wall, no_credential),
        "sendStatus": "busy" if busy else "idle",
        "outbox": _outbox_part(writer) | {"inFlight": link.in_flight if link else 0},
        "forecast": {
            "messagesPerDay": forecast.messages,
            "quotaPerDay": forecast.quota,
            "tier": forecast.tier,
            "outageDays": round(forecast.outage_days, 1),
            "text": str(forecast),
        },
        "messagesReceived": executor.received,
        "lastMessageReceived": wall.time_text(received) if received is not None else None,
        "sensors": {s.sensor_id: _sensor(s, wall.time_text) for s in samplers},
        "holds": {
            origin.value: {
                "since": wall.time_text(hold.since_boot_s),
                "secondsLeft": _seconds_left(hold.until_boot_s, now),
            }
            for origin, hold in guard.remembered.holds.items()
        },
        "actuators": _actuators_part(guard, now, wall),
    }


def _link_part(
    link: LinkStatus | None, now: float, wall: BootClock, no_credential: str | None
) -> dict[str, Any]:
    if link is None:
        link = LinkStatus("off", now, last_error=no_credential)
    retry_in_s = None if link.retry_at_boot_s is None else max(0.0, round(link.retry_at_boot_s - now, 1))
    error_since = link.error_since_boot_s
    return {
        "state": link.state,
        "since": None if link.state == "off" else wall.time_text(link.since_boot_s),
        "attempts": link.attempts,
        "retryIn": retry_in_s,
        "lastError": link.last_error,
        "errorSince": None if error_since is None else wall.time_text(error_since),
        "suspects": link.suspects,
        "abandonedClients": link.abandoned_clients,
    }


def _outbox_part(writer: OutboxWriter) -> dict[str, Any]:
    outbox = writer.status
    oldest = outbox.stats.oldest_unsent
    return {
        "stored": outbox.stored,
        "confirmed": outbox.confirmed,
        "backlog": outbox.backlog,
        "oldestUnsent": writer.boot_clock(oldest[0]).time_text(oldest[1]) if oldest else None,
        "inMemory": outbox.in_memory,
        "dropped": outbox.dropped,
        "rejected": outbox.stats.rejected,
        "lastRejected": [
            {
                "objectId": rejected.row.object_id,
                "kind": rejected.row.entry.kind,
                "time": writer.boot_clock(rejected.boot_id).time_text(rejected.boot_time_s),
                "reason": rejected.reason,
                "body": dict(rejected.row.entry.body),
            }
            for rejected in outbox.rejected
        ],
        "keptSent": outbox.stats.sent,
        "nextSequence": outbox.stats.next_sequence,
        "usedBytes": outbox.stats.used_bytes,
        "maxBytes": outbox.stats.max_bytes,
        "degraded": outbox.degraded,
    }


def _actuators_part(guard: Guard, now: float, wall: BootClock) -> dict[str, Any]:
    holders = guard.holders
    return {
        name: {
            "value": actuator.value,
            "safe": actuator.safe,
            "since": wall.time_text(actuator.since_boot_s),
            "why": actuator.why,
            "secondsLeft": _seconds_left(actuator.until_boot_s, now),
            "limit": actuator.limit,
            "heldBy": [
                {
                    "word": holder.word,
                    "reason": holder.text,
                    "secondsLeft": _seconds_left(holder.until_boot_s, now),
                    "cloudOnly": holder.cloud_only,
                }
                for holder in holders.get(name, ())
                if holder.until_boot_s is None or holder.until_boot_s > now
            ],
            "fault": actuator.fault,
            "simulated": actuator.simulated,
        }
        for name, actuator in guard.status.items()
    }


def _seconds_left(until_boot_s: float | None, now: float) -> float | None:
    return None if until_boot_s is None else max(0.0, round(until_boot_s - now, 1))


def _sensor(sampler: Sampler, time_text: Any) -> dict[str, Any]:
    status = sampler.status
    sample = status.sample
    return {
        "time": time_text(sample.time_s) if sample else None,
        "windSpeed": None if sample is None or sample.speed_mps is None else round(sample.speed_mps, 2),
        "windDirection": None
        if sample is None or sample.direction_deg is None
        else round(sample.direction_deg, 1),
        "fault": sample.fault if sample else None,
        "flags": list(sample.flags) if sample else [],
        "raw": dict(sample.raw) if sample else {},
        "simulated": sampler.simulated,
        "sampled": status.sampled,
        "reported": status.reported,
        "lostSince": None if status.lost_since_boot_s is None else time_text(status.lost_since_boot_s),
    }


def describe(status: Mapping[str, Any]) -> str:
    """The snapshot in a dozen lines for a terminal."""
    link, outbox = status["link"], status["outbox"]
    lines = [
        f"masthead {status['version']}  run {status['run']}  up {duration(status['uptime'])}",
        f"device    {status['deviceId'] or 'none'} at {status['hub'] or 'no hub'}",
        f"clock     {status['time']} ({status['timeQuality']})",
        f"link      {_link(link)}",
        *_trouble(link),
        f"sending   {status['sendStatus']}, {outbox['backlog']} waiting"
        + (f" since {outbox['oldestUnsent']}" if outbox["oldestUnsent"] else "")
        + f", {outbox['inFlight']} in flight",
        f"outbox    {outbox['stored']} stored and {outbox['confirmed']} confirmed in this run,"
        f" {_megabytes(outbox['usedBytes'])} of {_megabytes(outbox['maxBytes'])}"
        + (f", {outbox['dropped']} dropped" if outbox["dropped"] else "")
        + (f", {outbox['rejected']} rejected" if outbox["rejected"] else "")
        + (f"  IN MEMORY ONLY: {outbox['degraded']}" if outbox["degraded"] else ""),
        f"forecast  {status['forecast']['text']}",
        f"received  {status['messagesReceived']} messages"
        + (f", the last at {status['lastMessageReceived']}" if status["lastMessageReceived"] else ""),
    ]
    if refused := status["configuration"]["refused"]:
        lines.append(f"CONFIG    NOT TAKEN: {refused}; it runs by what it had")
    for name, sensor in status["sensors"].items():
        lines.append(f"sensor    {name}: {wind_text(sensor)}{'  (simulated)' if sensor['simulated'] else ''}")
    for where, hold in status["holds"].items():
        left = "" if hold["secondsLeft"] is None else f", {duration(hold['secondsLeft'])} more"
        lines.append(f"HELD      {where} since {hold['since']}{left}: the cloud moves nothing away from safe")
    for name, actuator in status["actuators"].items():
        lines += _actuator_lines(name, actuator)
    return "\n".join(lines)


def _actuator_lines(name: str, actuator: Mapping[str, Any]) -> list[str]:
    """Where it is, since when and why; below, what holds it."""
    left = "" if actuator["secondsLeft"] is None else f", {duration(actuator['secondsLeft'])} left"
    state = f"FAULT: {actuator['fault']}" if actuator["fault"] else value_text(actuator["value"])
    simulated = "  (simulated)" if actuator["simulated"] else ""
    lines = [f"actuator  {name}: {state} since {actuator['since']} ({actuator['why']}{left}){simulated}"]
    for holder in actuator["heldBy"]:
        more = "" if holder["secondsLeft"] is None else f", {duration(holder['secondsLeft'])} more"
        cloud = " (for the cloud)" if holder["cloudOnly"] else ""
        lines.append(f"            {holder['word']}: {holder['reason']}{more}{cloud}")
    return lines


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min {int(seconds) % 60} s" if minutes else f"{seconds:.0f} s"


def value_text(value: object) -> str:
    """An actuator's value for a person."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return "unknown" if value is None else f"{value:g}"


def _link(link: Mapping[str, Any]) -> str:
    text = f"{link['state']} since {link['since']}" if link["since"] else str(link["state"])
    if link["attempts"]:
        text += f", attempt {link['attempts']}"
    if link["retryIn"] is not None:
        text += f", next in {link['retryIn']:.0f} s"
    return text


def _trouble(link: Mapping[str, Any]) -> list[str]:
    """What is wrong with the link, if anything is, in lines of their own."""
    lines = []
    if link["lastError"]:
        since = f" (since {link['errorSince']})" if link["errorSince"] else ""
        lines.append(f"trouble   {link['lastError']}{since}")
    if link["suspects"]:
        lines.append(f"suspects  {link['suspects']} sent alone: the connection went whenever they were sent")
    return lines


def wind_text(sensor: Mapping[str, Any]) -> str:
    """A sensor's last sample for a person."""
    speed, direction, fault = sensor["windSpeed"], sensor["windDirection"], sensor["fault"]
    if speed is None and not fault:
        return "no sample yet"
    words = "no value" if speed is None else f"{speed:.1f} m/s"
    if direction is not None:
        words = f"no speed, from {direction:.0f}°" if speed is None else f"{words} from {direction:.0f}°"
    return f"{words}: {fault}" if fault else words


def figure_text(value: float) -> str:
    """What an instrument says, for a person: counts in full, the rest to six figures."""
    return str(int(value)) if value == int(value) else f"{value:.6g}"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
