"""Loggers as LiteLLM's documentation has people write them."""

from litellm.integrations.custom_logger import CustomLogger


class Keeping(CustomLogger):
    def __init__(self):
        super().__init__()
        self.events = []

    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        self.events.append(("success", kwargs, response_obj, start_time, end_time))

    async def async_log_failure_event(self, kwargs, response_obj, start_time, end_time):
        self.events.append(("failure", kwargs, response_obj, start_time, end_time))


class Synchronous(CustomLogger):
    def __init__(self):
        super().__init__()
        self.events = []

    def log_success_event(self, kwargs, response_obj, start_time, end_time):
        self.events.append(("success", kwargs, response_obj, start_time, end_time))


class Raising(Keeping):
    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        await super().async_log_success_event(kwargs, response_obj, start_time, end_time)
        raise RuntimeError("the receiver is away")


keeping, synchronous, raising = Keeping(), Synchronous(), Raising()
not_a_logger = object()
