"""Raw answers, held against botocore's models without botocore's parsers.

Those are lenient: they skip what they do not know, drop nulls and take what they are given. Here every byte of a body
must be accounted for: `problems_of` yields what does not fit, `seen` collects the members that were there.
"""

import base64
import datetime
import json
import math
import re
import struct
import xml.etree.ElementTree as ElementTree

try:
    import regex  # comes with cfn-lint; knows the \p{..} of AWS's patterns
except ImportError:
    regex = re

# Required by the model and yet absent in AWS's own examples: the "Queue Blocked" event of a RUNNABLE job, which
# "resembles DescribeServiceJob", has no `startedAt` (AWS Batch User Guide).
MAY_BE_ABSENT = {"DescribeServiceJobResponse.startedAt"}

# Any time in an answer lies between these; milliseconds taken for seconds do not.
EARLIEST, LATEST = 946_684_800, 4_102_444_800  # 2000 and 2100

CONTENT_TYPES = {
    "rest-json": "application/json",
    "json": "application/x-amz-json-",
    "smithy-rpc-v2-cbor": "application/cbor",
    "query": "text/xml",
}


class Timestamp(float):
    """A time that CBOR marked as one: tag 1."""


def matches(pattern, text):
    """Whether AWS's pattern covers the text; a pattern that Python cannot read covers everything."""
    try:
        return regex.fullmatch(pattern, text) is not None
    except regex.error:
        return True


# -- answers


def problems_of_answer(model, protocol, response, seen):
    """What is wrong with a successful raw response (status, headers, body)."""
    yield from problems_of_headers(protocol, response)
    body, shape = response["body"], model.output_shape
    try:
        if protocol == "query":
            yield from problems_of_xml_answer(model, body, seen)
            return
        tree = cbor(body) if protocol == "smithy-rpc-v2-cbor" else json.loads(body or b"{}")
    except (ValueError, LookupError, struct.error, ElementTree.ParseError) as error:
        yield f"{model.name}: unreadable body: {error}"
        return
    if shape is None:
        if tree not in ({}, None):
            yield f"{model.name}: has no output and yet answers {tree!r}"
        return
    yield from problems_of(shape, tree, protocol, model.name, seen)


def problems_of_headers(protocol, response):
    headers = {name.lower(): value for name, value in response["headers"].items()}
    content_type = headers.get("content-type", "")
    if not content_type.startswith(CONTENT_TYPES[protocol]):
        yield f"{protocol}: content type {content_type!r}"
    if protocol == "smithy-rpc-v2-cbor" and headers.get("smithy-protocol") != "rpc-v2-cbor":
        yield f"{protocol}: no smithy-protocol header"
    if not headers.get("x-amzn-requestid"):
        yield f"{protocol}: no x-amzn-requestid header"


def problems_of(shape, value, protocol, place, seen):
    """How a decoded JSON or CBOR value does not fit its shape."""
    kind = shape.type_name
    if value is None:
        yield f"{place}: null on the wire"
    elif kind == "structure":
        if not isinstance(value, dict):
            yield f"{place}: {value!r} is not a structure"
            return
        members = {member.serialization.get("name", name): (name, member) for name, member in shape.members.items()}
        for wire_name, held in value.items():
            if wire_name not in members:
                yield f"{place}.{wire_name}: on the wire and not in the model"
                continue
            name, member = members[wire_name]
            seen.add(f"{place}.{name}")
            yield from problems_of(member, held, protocol, f"{place}.{name}", seen)
        yield from absent(shape, {members[name][0] for name in value if name in members}, place)
        if getattr(shape, "is_tagged_union", False) and len(value) != 1:
            yield f"{place}: a union with {len(value)} members"
    elif kind == "list":
        if not isinstance(value, list):
            yield f"{place}: {value!r} is not a list"
            return
        yield from problems_of_size(shape, len(value), place)
        for held in value:
            yield from problems_of(shape.member, held, protocol, f"{place}[]", seen)
    elif kind == "map":
        if not isinstance(value, dict):
            yield f"{place}: {value!r} is not a map"
            return
        # An empty map is how AWS says that there are no tags, whatever `min` says of requests.
        yield from problems_of_size(shape, len(value), place) if value else ()
        for key, held in value.items():
            yield from problems_of_text(shape.key, key, f"{place} key")
            yield from problems_of(shape.value, held, protocol, f"{place}{{}}", seen)
    else:
        yield from problems_of_scalar(shape, value, protocol, place)


def problems_of_scalar(shape, value, protocol, place):
    kind, number = shape.type_name, isinstance(value, (int, float)) and not isinstance(value, bool)
    in_cbor = protocol == "smithy-rpc-v2-cbor"
    if kind in ("string", "character"):
        if isinstance(value, str):
            yield from problems_of_text(shape, value, place)
        else:
            yield f"{place}: {value!r} is not a string"
    elif kind in ("integer", "long"):
        if not number or isinstance(value, float):
            yield f"{place}: {value!r} is not a whole number"
        elif not -(2**63) <= value < 2**63 or (kind == "integer" and not -(2**31) <= value < 2**31):
            yield f"{place}: {value} is too large"
        elif re.search("[a-z]At$", place) and not EARLIEST <= value / 1000 <= LATEST:
            yield f"{place}: {value} is not in milliseconds"
        else:
            yield from problems_of_size(shape, value, place)
    elif kind in ("float", "double"):
        if not number or not math.isfinite(value):
            yield f"{place}: {value!r} is not a finite number"
    elif kind == "boolean":
        if not isinstance(value, bool):
            yield f"{place}: {value!r} is not a boolean"
    elif kind == "timestamp":
        if not number or (in_cbor and not isinstance(value, Timestamp)):
            yield f"{place}: {value!r} is not a time in seconds" + (" under tag 1" if in_cbor else "")
        elif not EARLIEST <= value <= LATEST:
            yield f"{place}: {value!r} is not in seconds"
    elif kind == "blob":
        if in_cbor and not isinstance(value, bytes):
            yield f"{place}: {value!r} is not bytes"
        elif not in_cbor:
            try:
                base64.b64decode(value, validate=True)
            except (TypeError, ValueError):
                yield f"{place}: {value!r} is not base64"


def problems_of_text(shape, value, place):
    if shape.enum and value not in shape.enum:
        yield f"{place}: {value!r} is not in the enum"
    yield from problems_of_size(shape, len(value), place)
    pattern = shape.metadata.get("pattern")
    if pattern and not matches(pattern, value):
        yield f"{place}: {value!r} does not match {pattern}"


def problems_of_size(shape, size, place):
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if (low is not None and size < low) or (high is not None and size > high):
        yield f"{place}: {size} is not within {low} to {high}"


def absent(shape, present, place):
    for name in shape.required_members:
        if name not in present and f"{shape.name}.{name}" not in MAY_BE_ABSENT:
            yield f"{place}.{name}: required and absent"


# -- XML of the query protocol


def problems_of_xml_answer(model, body, seen):
    root = ElementTree.fromstring(body)
    namespace = model.service_model.metadata["xmlNamespace"]
    for element in root.iter():
        found, _, element.tag = element.tag.rpartition("}")
        if found != "{" + namespace:
            yield f"{model.name}: <{element.tag}> is in namespace {found[1:]!r}"
            return
    if root.tag != f"{model.name}Response":
        yield f"{model.name}: the root is <{root.tag}>"
    if not root.findtext("ResponseMetadata/RequestId"):
        yield f"{model.name}: no RequestId"
    shape, wrapper = model.output_shape, None
    for child in root:
        if shape is not None and child.tag == shape.serialization.get("resultWrapper"):
            wrapper = child
        elif child.tag != "ResponseMetadata":
            yield f"{model.name}: <{child.tag}> is not in the model"
    if shape is not None and shape.members:
        if wrapper is None:
            yield f"{model.name}: no <{shape.serialization.get('resultWrapper')}>"
        else:
            yield from problems_of_xml(shape, wrapper, model.name, seen)


def problems_of_xml(shape, element, place, seen):
    kind = shape.type_name
    if kind == "structure":
        members = {}
        for name, member in shape.members.items():
            flat_list = member.type_name == "list" and member.serialization.get("flattened")
            own = member.member.serialization.get("name") if flat_list else None
            members[own or member.serialization.get("name", name)] = (name, member)
        for child in element:
            if child.tag not in members:
                yield f"{place}.{child.tag}: on the wire and not in the model"
                continue
            name, member = members[child.tag]
            seen.add(f"{place}.{name}")
            yield from problems_of_xml(member, child, f"{place}.{name}", seen)
        yield from absent(shape, {members[child.tag][0] for child in element if child.tag in members}, place)
    elif kind == "list":
        name = shape.member.serialization.get("name", "member")
        for child in element:
            if child.tag != name:
                yield f"{place}: <{child.tag}> in a list of <{name}>"
            else:
                yield from problems_of_xml(shape.member, child, f"{place}[]", seen)
    elif kind == "map":
        key, value = shape.key.serialization.get("name", "key"), shape.value.serialization.get("name", "value")
        for entry in element:
            if entry.tag != "entry" or [child.tag for child in entry] != [key, value]:
                yield f"{place}: not an <entry> of <{key}> and <{value}>"
            else:
                yield from problems_of_xml(shape.value, entry[1], f"{place}{{}}", seen)
    else:
        yield from problems_of_xml_scalar(shape, element, place)


def problems_of_xml_scalar(shape, element, place):
    kind, text = shape.type_name, element.text or ""
    if len(element):
        yield f"{place}: elements inside a {kind}"
    elif kind in ("integer", "long") and not re.fullmatch(r"-?\d+", text):
        yield f"{place}: {text!r} is not a whole number"
    elif kind in ("float", "double") and not re.fullmatch(r"-?\d+(\.\d+)?([eE][-+]?\d+)?", text):
        yield f"{place}: {text!r} is not a number"
    elif kind == "boolean" and text not in ("true", "false"):
        yield f"{place}: {text!r} is not a boolean"
    elif kind == "timestamp":
        if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", text):
            yield f"{place}: {text!r} is not a time of ISO 8601 in UTC"
        else:
            datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    elif kind == "string":
        yield from problems_of_text(shape, text, place)


# -- refusals


def problems_of_refusal(model, protocol, response):
    """What is wrong with a refusal's form, whatever it says."""
    yield from problems_of_headers(protocol, response)
    headers = {name.lower(): value for name, value in response["headers"].items()}
    place, body = f"{model.name} refused", response["body"]
    try:
        if protocol == "query":
            root = ElementTree.fromstring(body)
            for element in root.iter():
                element.tag = element.tag.rpartition("}")[2]
            if root.tag != "ErrorResponse" or root.findtext("Error/Type") not in ("Sender", "Receiver"):
                yield f"{place}: not an <ErrorResponse> of a Sender or Receiver"
            for wanted in ("Error/Code", "Error/Message", "RequestId"):
                if not root.findtext(wanted):
                    yield f"{place}: no {wanted}"
            return
        tree = cbor(body) if protocol == "smithy-rpc-v2-cbor" else json.loads(body)
    except (ValueError, LookupError, struct.error, ElementTree.ParseError) as error:
        yield f"{place}: unreadable body: {error}"
        return
    if not isinstance(tree.get("message", tree.get("Message")), str):
        yield f"{place}: no message in {tree}"
    if protocol == "rest-json":
        if not headers.get("x-amzn-errortype"):
            yield f"{place}: no x-amzn-errortype header"
    elif not isinstance(tree.get("__type"), str):
        yield f"{place}: no __type in {tree}"
    if "awsQueryCompatible" in model.service_model.metadata:
        if not re.fullmatch(r"[A-Za-z.]+;(Sender|Receiver)", headers.get("x-amzn-query-error", "")):
            yield f"{place}: x-amzn-query-error is {headers.get('x-amzn-query-error')!r}"


# -- CBOR


def cbor(data):
    """The one item that the bytes are, nulls and tags kept: RFC 8949 as far as rpc-v2-cbor uses it."""
    if not data:
        return {}
    value, end = cbor_item(data, 0)
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes after the item")
    return value


BREAK = object()


def cbor_item(data, at):
    major, low = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7:
        simple = {20: False, 21: True, 22: None, 23: None, 31: BREAK}
        if low in simple:
            return simple[low], at
        form, width = {25: (">e", 2), 26: (">f", 4), 27: (">d", 8)}[low]
        return struct.unpack(form, data[at : at + width])[0], at + width
    argument = None
    if low < 24:
        argument = low
    elif low < 28:
        width = 1 << (low - 24)
        argument, at = int.from_bytes(data[at : at + width], "big"), at + width
    if major in (0, 1):
        return (argument if major == 0 else -1 - argument), at
    if major in (2, 3) and argument is not None:
        raw = data[at : at + argument]
        return (raw if major == 2 else raw.decode()), at + argument
    if major == 6:
        value, at = cbor_item(data, at)
        if argument != 1:
            raise ValueError(f"tag {argument}")
        return Timestamp(value), at
    items = []
    while argument is None or len(items) < argument * (2 if major == 5 else 1):
        value, at = cbor_item(data, at)
        if value is BREAK:
            break
        items.append(value)
    if major in (2, 3):
        return (b"" if major == 2 else "").join(items), at
    return (items if major == 4 else dict(zip(items[::2], items[1::2], strict=True))), at
