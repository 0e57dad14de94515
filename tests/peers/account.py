"""A simulated AWS account seen through botocore, every call of which is checked on both sides.

An answer is held against its model, raw (`wire`). And before a request that must succeed is sent, so are its
breakages (`breakage`), each of which must be refused: since the request itself then succeeds, it is the breakage
that was refused, and the refusal has changed nothing.
"""

import contextlib
import datetime
import json
import re
import sys
import time
import urllib.request

import boto3
import botocore.model
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

import breakage
import wire

JSON, CBOR, QUERY = "json", "smithy-rpc-v2-cbor", "query"

# AWS's "Common errors", which every operation may answer with beside those of its model.
COMMON_ERRORS = {
    "InvalidParameter",
    "InvalidParameterCombination",
    "InvalidParameterValue",
    "MissingParameter",
    "SerializationException",
    "ValidationError",
    "ValidationException",
}
NOT_SERVED = "the simulator does not serve"


class Account:
    """Clients of one endpoint, and what was found and covered through them."""

    def __init__(self, endpoint, breaks=False):
        self.endpoint = endpoint
        self.breaks = breaks
        self.problems = []
        self.covered = {}  # (service, protocol, operation) -> Covered
        self.tried = set()  # (service, protocol, operation, place, constraint)
        self.unrefused = {}  # operation and what it does -> breakages that were not refused as they must
        self.refusal_expected = False

    def client(self, service, protocol=None):
        """A checked client."""
        made = self.bare_client(service, protocol)
        events, name = made.meta.events, made.meta.service_model.service_id.hyphenize()
        breaker = self.bare_client(service, protocol, parameter_validation=False) if self.breaks else None
        resolved = made.meta.service_model.resolved_protocol

        def before(params, model, **_):
            if breaker is not None and not self.refusal_expected:
                self.try_breakages(breaker, resolved, model, params)

        def after(request_dict=None, response_dict=None, operation_name=None, exception=None, **_):
            if response_dict is not None:
                model = made.meta.service_model.operation_model(operation_name)
                self.check(service, resolved, model, response_dict)

        events.register(f"before-parameter-build.{name}", before)
        for operation in made.meta.service_model.operation_names:
            events.register(
                f"response-received.{name}.{operation}",
                lambda operation_name=operation, **given: after(operation_name=operation_name, **given),
            )
        return made

    def bare_client(self, service, protocol=None, parameter_validation=True):
        before = botocore.model.PRIORITY_ORDERED_SUPPORTED_PROTOCOLS
        if protocol:
            botocore.model.PRIORITY_ORDERED_SUPPORTED_PROTOCOLS = (protocol,)
        try:
            made = boto3.session.Session().client(
                service,
                endpoint_url=self.endpoint,
                region_name="us-east-1",
                aws_access_key_id="AKIASIMULATED",
                aws_secret_access_key="simulated",
                config=Config(retries={"max_attempts": 0}, parameter_validation=parameter_validation),
            )
            assert protocol in (None, made.meta.service_model.resolved_protocol)
            return made
        finally:
            botocore.model.PRIORITY_ORDERED_SUPPORTED_PROTOCOLS = before

    def problem(self, text):
        if text not in self.problems:
            self.problems.append(text)

    def of(self, service, protocol, operation):
        return self.covered.setdefault((service, protocol, operation), Covered())

    def check(self, service, protocol, model, response):
        covered = self.of(service, protocol, model.name)
        if response["status_code"] < 300:
            covered.answers += 1
            found = wire.problems_of_answer(model, protocol, response, covered.seen)
        else:
            covered.refusals += 1
            found = wire.problems_of_refusal(model, protocol, response)
        for problem in found:
            self.problem(f"{service} ({protocol}): {problem}")

    def try_breakages(self, breaker, protocol, model, params):
        service = breaker.meta.service_model.service_name
        if model.input_shape is None:
            return
        params = {key: value for key, value in params.items() if key in model.input_shape.members}
        typed = protocol in ("json", "rest-json")
        for place, constraint, broken in breakage.breakages(service, model.input_shape, params, typed):
            key = (service, protocol, model.name, place, constraint)
            if key in self.tried:
                continue
            self.tried.add(key)
            try:
                answer = breaker._make_api_call(model.name, broken)
            except ClientError as error:
                if not_served(error):
                    return
                self.of(service, protocol, model.name).broken += 1
                verdict = self.misjudged(model, error)
            except (ValueError, TypeError, AttributeError, OverflowError):
                continue  # botocore could not write it: nothing was sent
            except (ResponseParserError, BotoCoreError) as error:
                verdict = f"answers with {brief(error)} to"
            else:
                # A batch is answered with success, and says of each entry what became of it.
                verdict = None if answer.get("Failed") or answer.get("errors") else "accepts"
                self.of(service, protocol, model.name).broken += verdict is None
            if verdict:
                found = self.unrefused.setdefault((f"{service} ({protocol}): {model.name} {verdict}"), [])
                found.append(f"{place} ({constraint})")

    def misjudged(self, model, error):
        """What is wrong with the code of a refusal; None if it is one of the operation's or a common one."""
        status, code = error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]
        modelled = {shape.name for shape in model.error_shapes} | {
            shape.metadata.get("error", {}).get("code") for shape in model.error_shapes
        }
        if 400 <= status < 500 and code in modelled | COMMON_ERRORS:
            return None
        return f"answers HTTP {status} with code {code!r} to"

    @contextlib.contextmanager
    def step(self, what):
        """A part of a script: what goes wrong in it is noted, and the script goes on."""
        try:
            yield
        except Exception as error:  # whatever it is, it is a finding
            line = error.__traceback__
            while line.tb_next and "peers" in line.tb_next.tb_frame.f_code.co_filename:
                line = line.tb_next
            self.problem(f"{what}: line {line.tb_lineno}: {brief(error)}")

    def refused(self, code, message, call, **arguments):
        """Notes a call that is not refused with this code and a message that matches."""
        self.refusal_expected = True
        try:
            call(**arguments)
        except ClientError as error:
            found = error.response["Error"]
            if found["Code"] != code or not re.search(message, found.get("Message", "")):
                self.problem(f"{error.operation_name}: expected {code} {message!r}, got {found}")
            return error
        else:
            self.problem(f"{call.__name__} {arguments} should have been refused with {code}")
        finally:
            self.refusal_expected = False

    def served(self, service, operations):
        """Which of the operations the endpoint serves: it says so when it does not."""
        breaker = self.bare_client(service, parameter_validation=False)
        found = []
        for operation in operations:
            model = breaker.meta.service_model.operation_model(operation)
            in_uri = {
                name: "arn:aws:batch:us-east-1:123456789012:job-queue/none"
                for name, member in (model.input_shape.members.items() if model.input_shape else ())
                if member.serialization.get("location") == "uri"
            }
            try:
                breaker._make_api_call(operation, in_uri)
            except ClientError as error:
                if not_served(error):
                    continue
            found.append(operation)
        return found

    def now(self):
        """The endpoint's time, in seconds."""
        with urllib.request.urlopen(f"{self.endpoint}/_sim/truth") as answer:
            return datetime.datetime.fromisoformat(json.load(answer)["now"].replace("Z", "+00:00")).timestamp()

    def finish(self):
        """Prints what was covered and found, and ends the process."""
        print(f"{'operation':<44} {'answers':>7} {'refused':>7} {'broken':>6} {'members seen':>13}")
        for (service, protocol, operation), covered in sorted(self.covered.items()):
            model = botocore.session.get_session().get_service_model(service).operation_model(operation)
            total = count_members(model.output_shape)
            place = f"{service} {operation}" + (f" ({protocol})" if service == "cloudwatch" else "")
            seen = f"{len(covered.seen)} of {total}"
            print(f"{place:<44} {covered.answers:>7} {covered.refusals:>7} {covered.broken:>6} {seen:>13}")
        for operation, breakages in sorted(self.unrefused.items()):
            self.problem(f"{operation} what breaks {', '.join(breakages)}")
        for problem in self.problems:
            print(f"PROBLEM {problem}")
        print(f"{len(self.problems)} problems")
        sys.exit(1 if self.problems else 0)


class Covered:
    """What was exercised of one operation."""

    def __init__(self):
        self.answers = self.refusals = self.broken = 0
        self.seen = set()


def count_members(shape, around=()):
    """How many members there are below a shape, recursion cut."""
    if shape is None or shape.name in around:
        return 0
    around += (shape.name,)
    if shape.type_name == "structure":
        return sum(1 + count_members(member, around) for member in shape.members.values())
    if shape.type_name in ("list", "map"):
        return count_members(shape.member if shape.type_name == "list" else shape.value, around)
    return 0


def not_served(error):
    """Whether the simulator does not know the operation at all."""
    found = error.response["Error"]
    return NOT_SERVED in found.get("Message", "") or found["Code"] in ("UnknownOperationException", "InvalidAction")


def brief(error):
    """An exception in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:400]


def until(read, fits, patience=30.0):
    """Reads until the answer fits, and gives it."""
    deadline = time.monotonic() + patience
    while True:
        answer = read()
        if fits(answer):
            return answer
        assert time.monotonic() < deadline, f"still {answer!r:.400} after {patience} s"
        time.sleep(0.02)


def utc(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
