"""Reads a task's payload, which another program wrote, into a model; what does not fit is the producer's to correct."""

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from opsagent_queue import Task
from opsagent_worker.errors import PermanentError


class Payload(BaseModel):
    """Base of every payload model. Fields it does not know are ignored: producers send more than we use."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", str_strip_whitespace=True, hide_input_in_errors=True
    )


P = TypeVar("P", bound=BaseModel)


def read_payload(model: type[P], task: Task) -> P:
    """The payload of `task` as `model`.

    Raises:
        PermanentError: it does not fit; the message names each field at fault.
    """
    try:
        return model.model_validate(task.payload)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, detail['loc'])) or 'payload'}: {detail['msg'].removeprefix('Value error, ')}"
            for detail in error.errors(include_url=False)
        )
        raise PermanentError(f"the payload of this {task.type} task is wrong: {problems}") from None
