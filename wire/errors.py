"""The ways bytes can fail to be a batch."""


class BatchError(ValueError):
    """A batch broke a rule of the format; answered 400, never worth a retry.

    ``rule`` is the rule's stable name (see `wire.codec.RULES`), ``detail`` says what was expected and found.
    """

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule
        self.detail = detail


class BatchTooLargeError(BatchError):
    """A batch is over a size limit; answered 413, and the agent sends it in smaller pieces."""
