"""What every section of the settings is: frozen, and strict about its keys."""

from typing import Any, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Section(BaseModel):
    """Where several are taken, one need not stand in brackets."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def one_of_several(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[info.field_name or ""]
        single = isinstance(value, str | float | int) and not isinstance(value, bool)
        return (value,) if single and get_origin(field.annotation) is tuple else value
