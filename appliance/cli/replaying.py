"""``appliance quarantine replay``: shows the preview, asks, starts the replay, and follows it until it ends."""

import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any

import click
import trio

from appliance.cli import Invocation
from appliance.cli.administration import Administration, administer
from appliance.cli.output import plain, show_one
from appliance.config import Config
from appliance.counted import counted
from appliance.db.pool import Pool, open_pool
from appliance.db.roles import INGEST
from appliance.devices.live.state_book import StateBook
from appliance.devices.registry.cache import Registry
from appliance.devices.registry.provisioning import Provisioner
from appliance.ingest.quarantine import replays
from appliance.ingest.quarantine.replay_preview import ReplayPreview, ReplayPreviewer
from appliance.ingest.quarantine.replays import Replay, ReplayStatus
from appliance.ingest.quarantine.store import Selection

CLEAR_LINE = "\r\x1b[K"
LOOK_SECONDS = 0.25
TAKEN_UP_SECONDS = 3.0
"""Seconds within which a running appliance starts a replay."""


def replay(
    invocation: Invocation,
    asked: Callable[[datetime], Selection],
    *,
    dry_run: bool,
    yes: bool,
    wait: bool,
    as_json: bool,
) -> int:
    """Run the command; return its exit code, 1 when the replay failed. ``asked`` is given the service time."""
    config = invocation.config

    async def work(administration: Administration) -> tuple[ReplayPreview, Replay | None]:
        selection = asked(administration.context.now)
        preview = await _preview(config, administration, selection)
        if not as_json:
            click.echo(preview_text(preview))
        if dry_run or not preview.selected:
            return preview, None
        if not (yes or as_json):
            click.confirm("Replay them?", abort=True)
        job = await replays.request_replay(administration.connection, selection, administration.context)
        return preview, await _follow(administration, job) if wait else job

    preview, job = administer(invocation, work)
    if as_json:
        show_one({"forecast": _json(preview), "replay": None if job is None else plain(job)}, as_json=True)
    elif job is not None:
        click.echo(replay_text(job))
    return int(job is not None and job.status is ReplayStatus.FAILED)


async def _preview(config: Config, administration: Administration, selection: Selection) -> ReplayPreview:
    """Preview the replay, with progress on a terminal: it may examine hundreds of thousands of messages."""
    async with _pool(administration) as pool:
        clock, grace = administration.clock, administration.grace
        provisioner = Provisioner(pool, grace=grace, max_wait=config.provisioning.max_wait, clock=clock)
        registry = Registry(pool, StateBook(0), provisioner, clock, capacity=0, refusal_ttl=0, grace=grace)
        replay_previewer = ReplayPreviewer(pool, registry, clock, config.ingest, config.retention, grace=grace)
        preview = await replay_previewer.preview(
            selection, progress=lambda examined, total: _show(f"checked {examined} of {total}")
        )
        _show("")
        return preview


def _pool(administration: Administration) -> AbstractAsyncContextManager[Pool]:
    return open_pool(administration.endpoint.conninfo(INGEST), name="replay preview", max_size=1)


async def _follow(administration: Administration, job: Replay) -> Replay:
    """Follow the replay until it ends, or until it is clear that no appliance runs it."""
    deadline = trio.current_time() + TAKEN_UP_SECONDS
    while not job.status.ended:
        _show(f"{job.examined} of {job.total}: {job.replayed} stored, {sum(job.refused.values())} stay held")
        if job.status is ReplayStatus.WAITING and trio.current_time() > deadline:
            break
        await trio.sleep(LOOK_SECONDS)
        job = await replays.get_replay(administration.connection, job.replay_id)
    _show("")
    return job


def preview_text(preview: ReplayPreview) -> str:
    """Return the preview as text, a line for each reason."""
    if not preview.selected:
        return "Nothing that is held matches."
    lines = [f"{preview.passing} of {preview.examined} would pass."]
    if not preview.complete:
        checked = counted(preview.examined, "was", "were")
        lines = [f"Of {counted(preview.selected, 'message')}, the oldest {checked} checked.", *lines]
    if preview.new_devices:
        lines.append(f"{counted(preview.new_devices, 'new device')} would be registered.")
    lines += [f"{count} would stay held: {reason}." for reason, count in preview.refused.items()]
    return "\n".join(lines)


def replay_text(job: Replay) -> str:
    """Return the state of a replay as text."""
    number = f"Replay {job.replay_id}"
    match job.status:
        case ReplayStatus.WAITING:
            return f"{number} is queued: no appliance is running. It starts as soon as one runs."
        case ReplayStatus.RUNNING:
            return f"{number} is running: {job.examined} of {job.total}."
        case ReplayStatus.FAILED:
            return f"{number} failed: {job.error}"
    lines = [f"{number} is {job.status.lower()}: {job.replayed} stored."]
    if job.duplicate:
        lines.append(f"{job.duplicate} were stored already.")
    if job.gone:
        lines.append(f"{job.gone} were decided or evicted in the meantime.")
    lines += [f"{count} stay held: {reason}." for reason, count in job.refused.items()]
    return "\n".join(lines)


def _json(preview: ReplayPreview) -> dict[str, Any]:
    return {**plain(preview), "complete": preview.complete}


def _show(line: str) -> None:
    """On a terminal, in place of the line before."""
    if sys.stderr.isatty():
        sys.stderr.write(f"{CLEAR_LINE}{line}")
        sys.stderr.flush()
