"""Requests that break one documented constraint each, made from a request that breaks none.

The constraints are those of botocore's models, and for Batch, whose model has hardly any, those that its API reference
states in words: `IN_WORDS`.
"""

import copy

import wire

# What the API reference of Batch says in words, by member: least and most, of a number or of a length.
IN_WORDS = {
    ("batch", "attempts"): (1, 10),
    ("batch", "evaluateOnExit[]"): (None, 5),
    ("batch", "onStatusReason"): (None, 512),
    ("batch", "attemptDurationSeconds"): (60, None),
    ("batch", "schedulingPriority"): (0, 9_999),
    ("batch", "shareDecaySeconds"): (0, 604_800),
    ("batch", "computeReservation"): (0, 99),
    ("batch", "weightFactor"): (0.0001, 999.9999),
    ("batch", "shareIdentifier"): (None, 255),
    ("batch", "maxTimeSeconds"): (600, 86_400),
    ("batch", "borrowLimit"): (-1, None),
    ("batch", "maxCapacity"): (0, None),
    ("batch", "capacityLimits[]"): (1, 5),
    ("batch", "maxResults"): (1, 100),
    ("batch", "jobs[]"): (1, 50),
    ("batch", "jobName"): (1, 128),
    ("batch", "jobQueueName"): (1, 128),
    ("batch", "quotaShareName"): (1, 128),
    ("batch", "name"): (1, 128),
    ("batch", "serviceEnvironmentName"): (1, 128),
}
# "It can be up to 128 letters long. It can contain uppercase and lowercase letters, numbers, hyphens (-), and
# underscores (_)."
NAMED_IN_WORDS = {"jobName", "jobQueueName", "quotaShareName", "serviceEnvironmentName"}
A_NAME = "[A-Za-z0-9][A-Za-z0-9_-]*"

# Actions of `evaluateOnExit`, which "are not case sensitive".
ANY_CASE = {"retry", "exit"}

# Botocore writes whatever it is given in the place of one of these.
SCALARS = {"string", "integer", "long", "float", "double", "boolean"}

# Longer texts are not tried: what limits them is the size of the request.
LONGEST = 20_000
# Breaks almost every pattern there is, or at least one of these does.
ODD_TEXTS = ["no spaces, please!", ":", "-", "\u00e9", "\u0001", "a" * 200]


def breakages(service, shape, request, typed):
    """Yields (place, constraint, broken request). `typed`: wrong types can be written in this protocol."""
    for place, constraint, change in changes(service, shape, request, "", typed):
        broken = copy.deepcopy(request)
        change(broken)
        yield place, constraint, broken


def changes(service, shape, value, place, typed, path=()):
    """Yields (place, constraint, what to do to the request)."""
    kind = shape.type_name
    if kind == "structure":
        place += "." if place else ""
        for name in shape.required_members:
            member = shape.members[name]
            if name in value and member.serialization.get("location") != "uri":
                yield f"{place}{name}", "required", remover(path, name)
        for name, held in value.items():
            # In a query string everything is text.
            in_query = shape.members[name].serialization.get("location") == "querystring"
            yield from changes(service, shape.members[name], held, f"{place}{name}", typed and not in_query, path + (name,))
        return
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    member_name = place.rpartition(".")[2]
    in_words = (service, member_name + ("[]" if kind == "list" else ""))
    is_item = member_name.endswith("[]")
    if in_words in IN_WORDS and not is_item and not (member_name == "name" and "filters" in place):
        low, high = IN_WORDS[in_words]
    yield from sizes(kind, value, low, high, place, path)
    if typed and kind in SCALARS and shape.serialization.get("location") != "uri":
        yield place, "type", setter(path, {"a": "structure"})
        yield place, "type of scalar", setter(path, 7 if kind == "string" else "7")
    if kind == "string":
        if shape.enum:
            yield place, "enum", setter(path, "NO_SUCH_VALUE")
            if value.swapcase() not in ANY_CASE:
                yield place, "case", setter(path, value.swapcase())
        pattern = shape.metadata.get("pattern")
        if service == "batch" and member_name in NAMED_IN_WORDS:
            pattern = A_NAME
        if pattern:
            fitting = (text for text in ODD_TEXTS if (low or 0) <= len(text) <= (high or LONGEST))
            odd = next((text for text in fitting if not wire.matches(pattern, text)), None)
            if odd is not None:
                yield place, "pattern", setter(path, odd)
    elif kind == "list" and value:
        yield from changes(service, shape.member, value[0], f"{place}[]", typed, path + (0,))
    elif kind == "map" and value:
        key, held = next(iter(value.items()))
        longest_key = shape.key.metadata.get("max")
        if longest_key:
            yield f"{place} key", "max", setter(path, {"k" * (longest_key + 1): held})
        yield from changes(service, shape.value, held, f"{place}{{}}", typed, path + (key,))


def sizes(kind, value, low, high, place, path):
    if kind in ("integer", "long", "float", "double"):
        step = 1 if kind in ("integer", "long") else 0.5
        if low is not None:
            yield place, "min", setter(path, low - step)
        if high is not None:
            yield place, "max", setter(path, high + step)
    elif kind == "string":
        if low:
            yield place, "min", setter(path, value[: low - 1])
        if high is not None and high < LONGEST:
            yield place, "max", setter(path, (value or "a") + "a" * (high + 1 - len(value or "a")))
    elif kind == "list":
        if low:
            yield place, "min", setter(path, value[: low - 1])
        if high is not None and value:
            yield place, "max", setter(path, (value * (high + 1))[: high + 1])
    elif kind == "map":
        if low:
            yield place, "min", setter(path, dict(list(value.items())[: low - 1]))
        if high is not None and value:
            sample = next(iter(value.values()))
            yield place, "max", setter(path, {f"key-{number}": sample for number in range(high + 1)})


def setter(path, value):
    def change(request):
        holder(request, path[:-1])[path[-1]] = value

    return change


def remover(path, name):
    def change(request):
        del holder(request, path)[name]

    return change


def holder(request, path):
    for step in path:
        request = request[step]
    return request
