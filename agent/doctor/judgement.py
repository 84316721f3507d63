"""From what was found to problems with their remedies. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from agent.doctor.report import Problem, encodable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.doctor.report import Aggregator, File, Limits, Obstacle, Report, Running, Severity, Step

# The kubelet's own thresholds (evictionHard nodefs.available, nodefs.inodesFree): below them it evicts pods, and their
# logs go with them.
DISK_FREE_LEAST: Final = 0.10
INODES_FREE_LEAST: Final = 0.05
# An agent that is well stores a line within a second or two; a partial line without an end may take half a minute.
LAG_MOST_S: Final = 60.0
# Descriptors the agent needs beside those of the files: connections, the event loop, inotify, the libraries.
_OPEN_FILES_BESIDE: Final = 64
# Of one kind as many are told one by one; on a node where all is wrong, a hundred times the same helps nobody.
_TOLD_MOST: Final = 20

_DOCS: Final = "docs/operations.md"
_AS_ROOT: Final = f"run the agent as uid 0, or with the capability DAC_READ_SEARCH (Non-root in {_DOCS})"
_STEPS: Final = {
    "name": ("the aggregator's name is not known", "check --aggregator-url, the Service's name and namespace, and DNS"),
    "connect": (
        "the aggregator cannot be connected to",
        "check that it runs (kubectl get pods), its port in --aggregator-url, and network policies",
    ),
    "tls": (
        "there is no safe connection to the aggregator",
        "give it a certificate for the name in --aggregator-url, of an authority in --ca-file or that the image knows",
    ),
    "status": ("the aggregator is not ready", "look into its log; the agent waits and loses nothing meanwhile"),
    "token": (
        "the aggregator does not tell positions",
        "check that --aggregator-url leads to a logboom aggregator, and no proxy removes headers",
    ),
    "protocol": (
        "the aggregator does not take batches of this agent",
        "upgrade the older of both, the aggregator first where you can; the agent waits and loses nothing meanwhile",
    ),
}
_TOKEN: Final = (
    "the aggregator does not accept the token",
    "put a token that the aggregator's --token-file lists into the first line of the agent's --token-file",
)


def judge(report: Report, obstacles: Sequence[Obstacle]) -> tuple[Problem, ...]:
    """Every problem, then every note; those of one kind together, the most important kinds first."""
    found = [
        *_of_aggregator(report.aggregator),
        *_of_agent(report.agent, report),
        *(_of_obstacle(obstacle, report) for obstacle in obstacles),
        *(problem for file in report.files if (problem := _of_file(file))),
        *_of_limits(report.limits, report.agent),
    ]
    return tuple(sorted(_bounded(found), key=lambda problem: problem.severity == "note"))


def _bounded(problems: list[Problem]) -> Iterator[Problem]:
    told: dict[str, int] = {}
    for problem in problems:
        told[problem.kind] = told.get(problem.kind, 0) + 1
        if told[problem.kind] <= _TOLD_MOST:
            yield _encodable(problem)
    for kind, count in told.items():
        if count > _TOLD_MOST:
            last = next(problem for problem in reversed(problems) if problem.kind == kind)
            rest = count - _TOLD_MOST
            what = f"and {rest} more like this, up to this"
            yield _encodable(msgspec.structs.replace(last, what=what))


def _encodable(problem: Problem) -> Problem:
    """Names of what lies in the pods directory may be any bytes, and stand in all of these."""
    where, why, do = map(encodable, (problem.where, problem.why, problem.do))
    return msgspec.structs.replace(problem, where=where, why=why, do=do)


def _of_aggregator(aggregator: Aggregator) -> Iterator[Problem]:
    for step in aggregator.steps:
        if step.ok is False:
            what, remedy = _TOKEN if _is_refusal(step) else _STEPS[step.name]
            yield Problem("problem", f"aggregator-{step.name}", aggregator.url, what, step.detail, remedy)


def _is_refusal(step: Step) -> bool:
    """Whether the credentials are at fault; the agent's client begins with the status, or names the file."""
    return step.name == "token" and step.detail.startswith(("401", "403", "token file"))


def _of_agent(agent: Running, report: Report) -> Iterator[Problem]:
    if not agent.answers:
        if agent.address:
            remedy = "start it, or give --listen as the agent has it; what it has read is not known"
            yield Problem("note", "agent-absent", agent.address, "no agent answers here", agent.error, remedy)
        return
    for mine, its, option in (
        (report.node, agent.node, "--node-name"),
        (report.cluster, agent.cluster, "--cluster"),
        (report.aggregator.url, agent.aggregator, "--aggregator-url"),
        (report.pods_dir, agent.pods_dir or report.pods_dir, "--pods-dir"),
    ):
        if mine != its:
            yield Problem(
                "problem",
                "agent-differs",
                agent.address,
                f"the agent that runs has another {option}",
                f"it has {its!r}, doctor was given {mine!r}",
                f"give doctor the agent's options; files and positions of another {option} may be others",
            )
    if agent.trouble:
        remedy = "see the aggregator above; the agent tries again by itself"
        yield Problem("problem", "agent-trouble", agent.address, "the agent cannot ship", agent.trouble, remedy)
    if agent.refused:
        remedy = "a gap record stands in its place; the agent's log names the container"
        yield Problem("problem", "agent-refused", agent.address, "a record was refused", agent.refused, remedy)
    for lost in agent.lost:
        where = f"{lost.namespace}/{lost.pod}/{lost.container}"
        why = f"{lost.lost_bytes} bytes are known to be lost since the agent began to follow it"
        remedy = "gap records in its stream say why, as does GET /completeness of the aggregator"
        yield Problem("note", "lost", where, "a part of a log is lost", why, remedy)


def _of_obstacle(obstacle: Obstacle, report: Report) -> Problem:
    match obstacle.what:
        case "absent":
            why = f"there is nothing beyond {obstacle.exists}"
            remedy = "check --pods-dir; in a container, mount the node's /var/log/pods there, read-only"
            return Problem("problem", "pods-dir-absent", obstacle.path, "there is no pods directory", why, remedy)
        case "dangling":
            return _of_link(obstacle)
        case "kind":
            why = f"it is no regular file but {obstacle.error}"
            return Problem("problem", "file-kind", obstacle.path, "a log is not read", why, "remove it")
        case "name":
            severity: Severity = "problem" if obstacle.logs else "note"
            why = "the kubelet names directories <namespace>_<pod>_<uid>, and containers in ASCII"
            remedy = "nothing, if it is not the kubelet's; its files are not read"
            return Problem(severity, "name", obstacle.path, "a directory is no pod's or container's", why, remedy)
        case "unreadable":
            return _of_permission(obstacle, report)


def _of_link(obstacle: Obstacle) -> Problem:
    what = "a log is a link to a file that is not there"
    why = f"it leads to {obstacle.target}, of which only {obstacle.exists} is there"
    # `…/containers/<id>/<id>-json.log`: where other containers' directories are to be seen, this one's was removed.
    root = obstacle.target.rsplit("/", 2)[0] or obstacle.target
    remedy = (
        f"mount {root} into the agent at the same path, read-only (Docker's data root)"
        if len(obstacle.exists) < len(root)
        else f"nothing, if the container was removed; else mount all of {root} at the same path, read-only"
    )
    return Problem("problem", "link-dangling", obstacle.path, what, why, remedy)


def _of_permission(obstacle: Obstacle, report: Report) -> Problem:
    owner = obstacle.owner
    what = "this cannot be read"
    if owner is None:
        remedy = "look into the node's kernel log (dmesg): disk or file system may be at fault"
        return Problem("problem", "unreadable", obstacle.path, what, obstacle.error, remedy)
    refuses = "it" if owner.path == obstacle.path else owner.path
    why = f"{obstacle.error}: {refuses} is {owner.mode} {owner.uid}:{owner.gid}, this process has uid {report.user}"
    if report.user != 0:
        remedy = _AS_ROOT
    elif owner.uid != 0:
        remedy = "add the capability DAC_READ_SEARCH: without it root reads only what root, or everyone, may"
    else:
        remedy = "SELinux or AppArmor may forbid it: look into the audit log, run the agent as type spc_t or unconfined"
    return Problem("problem", "permission", obstacle.path, what, why, remedy)


def _of_file(file: File) -> Problem | None:
    if file.state == "not read":
        return Problem(
            "problem",
            "not-read",
            file.path,
            "the agent does not read this file, and not all of it is stored",
            f"{file.lag_bytes} bytes are not stored, and the agent's /status does not list it",
            "look for its name in the agent's log; a file that is new is there within seconds; if the agent leaves it "
            "out by --include or --exclude, give doctor the same options",
        )
    if file.state == "damaged":
        return Problem(
            "note",
            "damaged",
            file.path,
            "a compressed log is damaged",
            "what could be unpacked of it was read; a gap record stands for the rest",
            "nothing brings it back; if there are more, look into the node's kernel log (dmesg): it may be the disk",
        )
    if file.state == "behind" and file.lag_seconds is not None and file.lag_seconds > LAG_MOST_S:
        return Problem(
            "problem",
            "behind",
            file.path,
            "lines wait for long",
            f"{file.lag_bytes} bytes are not stored, since {file.lag_seconds:.0f} s or longer",
            "if an agent runs and the aggregator takes its batches, look into the agent's log for this file",
        )
    return None


def _of_limits(limits: Limits, agent: Running) -> Iterator[Problem]:
    need, watches = limits.directories, limits.max_user_watches
    sysctl = "/proc/sys/fs/inotify"
    without = "until then the agent scans every second: nothing is lost, new files are found later"
    if watches is not None and need > watches:
        why = f"{need} directories are to be watched, fs.inotify.max_user_watches is {watches}"
        remedy = f"raise it above {2 * need} on the node; {without}"
        yield Problem("problem", "inotify-watches", sysctl, "too few inotify watches", why, remedy)
    if limits.instance and not agent.inotify:
        why = f"{limits.instance}; fs.inotify.max_user_instances is {limits.max_user_instances}"
        remedy = f"raise it on the node (other processes of the same user have all of them); {without}"
        yield Problem("problem", "inotify-instances", sysctl, "no inotify instance is left", why, remedy)
    elif agent.inotify is False and not (watches is not None and need > watches):
        why = "--no-inotify, a link into a directory that is not there, or other processes have the watches there are"
        remedy = f"remove the cause, or raise fs.inotify.max_user_watches on the node; {without}"
        yield Problem("note", "inotify-off", sysctl, "the agent that runs does without inotify", why, remedy)
    if limits.max_queued_events is not None and need > limits.max_queued_events:
        why = f"{need} directories may change at once, fs.inotify.max_queued_events is {limits.max_queued_events}"
        yield Problem(
            "note", "inotify-queue", sysctl, "the inotify queue is short", why, "nothing: the agent then scans"
        )
    if limits.files + _OPEN_FILES_BESIDE > limits.open_files:
        why = f"{limits.files} files may have to be open at once, the hard limit is {limits.open_files}"
        remedy = f"raise the limit of open files (LimitNOFILE of the runtime) above {2 * limits.files}"
        yield Problem("problem", "open-files", "RLIMIT_NOFILE", "too few files may be open", why, remedy)
    yield from _of_disk(limits)


def _of_disk(limits: Limits) -> Iterator[Problem]:
    remedy = "free some: the kubelet evicts pods when it runs low, and their logs go with them"
    for free, total, least, what in (
        (limits.disk_free_bytes, limits.disk_bytes, DISK_FREE_LEAST, "bytes"),
        (limits.disk_free_inodes, limits.disk_inodes, INODES_FREE_LEAST, "inodes"),
    ):
        if free is not None and total and free < least * total:
            why = f"{free} of {total} {what} are free, less than {least:.0%}"
            yield Problem("problem", "disk", "the pods directory's disk", "the node's disk is nearly full", why, remedy)
