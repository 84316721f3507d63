"""What can go wrong in the agent, as types; each carries what a log line or a status needs."""

from __future__ import annotations


class UnavailableError(Exception):
    """The aggregator could not be asked, or cannot answer now; worth another try after ``retry_after_s``, if given."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class OtherBuildError(UnavailableError):
    """The aggregator does not know the form of this agent's batches; it will, once both are of one version."""


class BodyLimitError(UnavailableError):
    """Something between here and the aggregator takes no body of this size; less may pass, and all once it is told to.

    What it says is not the aggregator's word: no record is given up for it.
    """


class RefusedError(Exception):
    """The aggregator will never take this batch; ``rule`` names what it broke, ``too_large`` that less may pass."""

    def __init__(self, rule: str, reason: str, *, too_large: bool = False) -> None:
        super().__init__(f"{rule}: {reason}")
        self.rule = rule
        self.reason = reason
        self.too_large = too_large


class UnpackError(Exception):
    """A gzip file cannot be unpacked any further; ``is_cut``: it just ends, so it may be in the making."""

    def __init__(self, reason: str, *, is_cut: bool) -> None:
        super().__init__(reason)
        self.is_cut = is_cut


class ReplacedError(Exception):
    """A file does not begin with its first line any more: it was truncated, and holds something else or nothing."""


class GapRefusedError(UnavailableError):
    """Even the gap record that is to stand for a refused one of ``container`` in ``pod`` was refused.

    The two programs do not agree on what a batch is; they will, once both are of one version.
    """

    def __init__(self, refused: RefusedError, pod: str, container: str) -> None:
        super().__init__(
            f"rule {refused.rule!r}, pod {pod}, container {container}: {refused.reason}; nothing is lost while the "
            "node has the file. Have agent and aggregator be of one version; if they are, this is a bug: report it"
        )
