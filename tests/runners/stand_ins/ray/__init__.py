"""What xlift asks of Ray, in one process: tasks run one after the other, each when those that it waits for have run."""

import time


class exceptions:
    class RayError(Exception):
        """Of the cluster's own: a process or a node died."""


class Ref:
    def __init__(self, function, arguments, options):
        self.function, self.arguments, self.options, self.value = function, arguments, options, None

    def compute(self):
        if self.value is None:
            self.value = self.function(*(each.compute() if isinstance(each, Ref) else each for each in self.arguments))
        return self.value


class remote:
    def __init__(self, function, options=None):
        self.function, self.given = function, options or {}

    def options(self, **options):
        return type(self)(self.function, options)

    def remote(self, *arguments):
        return Ref(self.function, arguments, self.given)


def init(**_):
    pass


def shutdown():
    pass


def nodes():
    return [{"Alive": True, "Resources": {"CPU": 4.0}}]


def wait(refs, num_returns, timeout):
    try:
        refs[0].compute()
    except exceptions.RayError:
        time.sleep(0)
    return refs[:1], refs[1:]


def get(ref):
    return ref.compute()
